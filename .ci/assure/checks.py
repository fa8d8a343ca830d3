"""The checks. Most of them are tests of this repository, run against the program as it is released:
what they assert is their part of the target, and the figures that they print are compared here."""

import json
import os
import re

import tools
from table import Check

# The crates that a request passes.
PATH = ["api", "config", "crypto", "keys", "keystore", "policy", "server", "tls"]


def exposure(runner, row):
    tools.need("systemd-analyze", "which rates a unit")
    for unit in ("kes.service", "kes@.service"):
        command = ["systemd-analyze", "security", "--offline=true", "--no-pager", f"systemd/{unit}"]
        output, _ = runner.run(command)
        found = re.search(r"Overall exposure level for .*: ([0-9.]+)", output)
        if found is None:
            raise tools.NotRun("systemd-analyze before version 250 cannot look at a file")
        row.at_most(f"{unit} {{}} of 10", float(found.group(1)), 1.5)


def remains(runner, row):
    tests = runner.black_box("secrets::remains", "secrets::process::a_")
    raw, base64 = "raw copies of a deleted key", "base64 copies of a deleted key"
    row.at_most("{} raw", tests.figure(raw), 0)
    row.at_most("{} base64", tests.figure(base64), 1)
    row.tests(tests)


def guarded(runner, row):
    row.tests(
        runner.black_box(
            "secrets::process::no_core_is_dumped",
            "secrets::process::others_of_the_same_user",
            "secrets::process::nor_into_a_command",
        )
    )


def locked(runner, row):
    tests = runner.black_box("lifecycle::footprint::many_connections", "lifecycle::system::under_a")
    row.add(f"{tests.figure('connections served, limit 8 MiB'):.0f} connections at 8 MiB", True)
    row.at_most("{} KiB swapped", tests.figure("VmSwap in KiB, limit usual"), 0)
    locked, resident = [tests.figure(f"{name} in KiB, limit usual") for name in ("VmLck", "VmRSS")]
    if locked == 0 and os.geteuid() != 0:
        row.not_run.append("this user may lock no memory")
    else:
        text = f"{locked / 1024:.0f} MiB locked, {resident / 1024:.0f} MiB resident"
        row.add(text, locked >= resident)
    row.tests(tests)


def secrets(runner, row):
    row.tests(runner.black_box("secrets::"))
    row.tests(runner.of_crate("kes-keystore", "vault", "login::", "transport::"))


def kills(runner, row):
    count = 1_000 if runner.whole else 100
    tests = runner.black_box("kills::", env={"KES_KILLS": str(count)})
    row.add(f"{tests.figure('kills'):,.0f} kills", tests.figure("kills") == count)
    changes = tests.figure("acknowledged changes")
    row.add(f"{changes:,.0f} acknowledged, none lost or torn", not tests.failed)
    row.tests(tests)
    row.tests(runner.of_crate("kes-keystore", "lib", "fs::tests::whenever_it_is_killed"))


def faults_of_calls(runner, row):
    row.tests(runner.of_crate("kes-keystore", "lib", "fs::folder::tests"))
    row.tests(runner.black_box("folder::", "lifecycle::system::", "logs::required::", "logs::lost::"))


def faults_of_vault(runner, row):
    tests = runner.black_box("vault::outage", "vault::blip", "vault::start")
    row.at_most("answers within {} s", tests.figure("s until an answer without Vault"), 15)
    row.at_most("back {} s after Vault", tests.figure("s until served after Vault's return"), 15)
    row.tests(tests)
    row.tests(runner.of_crate("kes-keystore", "vault", "outage::", "transport::", "login::"))
    seconds = 600 if runner.whole else 30
    soak = runner.black_box("vault::soak", env={"KES_SOAK_SECONDS": str(seconds)})
    row.add(f"{seconds} s of random faults without a wrong answer", not soak.failed)


def herd(runner, row):
    tests = runner.black_box("vault::herd", "cache::many_requests")
    requests = tests.figure("requests for one cold key")
    row.add(f"{requests:,.0f} requests, the first aborted", requests >= 1_000)
    reads = tests.figure("reads of Vault")
    row.add(f"{reads:.0f} read of Vault", reads == 1)
    row.at_most("{} errors", tests.figure("requests that failed"), 0)


def fuzzing(runner, row):
    seconds = 600 if runner.whole else 10
    output, status = runner.run(["bash", "fuzz/run", str(seconds)])
    done = re.findall(r"^(\w+): (\d+) runs in \d+ second.*; slowest (\d+) s$", output, re.MULTILINE)
    failed = re.findall(r"^(\w+) failed:$", output, re.MULTILINE)
    if not done and not failed:
        raise tools.Failed("fuzz/run: " + tools.last_line(output))
    ran, targets = len(done) + len(failed), len(os.listdir(os.path.join(tools.ROOT, "fuzz/targets")))
    row.add("all targets" if ran == targets else f"{ran} of {targets} targets", ran == targets >= 8)
    row.add(f"{len(failed)} crashes" + ": ".join(["", *failed]), not failed and status == 0)
    runs = [int(count) for _, count, _ in done]
    least = min(runs, default=0)
    name = next((name for name, count, _ in done if int(count) == least), "none")
    enough = not runner.whole or least >= 10**7
    row.add(f"{sum(runs):,} runs, fewest {least:,} ({name})", enough)
    row.at_most("slowest input {} s", max((int(slowest) for *_, slowest in done), default=0), 1)


def vectors(runner, row):
    cases = {"PROPTEST_CASES": "10000" if runner.whole else "1000"}
    for module in ("independent::", "properties::", "vectors::"):
        row.tests(runner.of_crate("kes-crypto", "tests", module, env=cases))
    row.tests(runner.of_crate("kes-crypto", "lib", "wycheproof"))
    row.tests(runner.of_crate("kes-server", "lib", "transport::tls::verifier"))
    row.tests(runner.of_crate("kes-keystore", "lib", "record::", env=cases))
    row.tests(runner.of_crate("kes-policy", "powers", env=cases))
    row.tests(runner.of_crate("kes-fuzz", "replay"))
    row.tests(runner.black_box("keys_at_rest::", "api::answers", "config::deployed"))


def certificates(runner, row):
    row.tests(runner.black_box("api::identity", "api::transport"))
    row.tests(runner.of_crate("kes-tls", "openssl"))
    row.tests(runner.of_crate("kes-tls", "client"))


def slow_clients(runner, row):
    tests = runner.black_box("api::limits::slow", "api::limits::beside", "api::limits::strangers")
    for what, name, limit in (
        ("silent", "s until closed, a silent connection", 5),
        ("half a handshake", "s until closed, half a handshake", 5),
        ("head", "s until closed, a head that drips after 0 requests", 5),
        ("body", "s until answered, a body that drips", 15),
    ):
        took = tests.figure(name)
        row.add(f"{what} {took:.1f} s", limit - 1 <= took <= limit + 1)
    each = tests.figure("KiB of an idle connection")
    row.at_most(f"{{}} KiB for each of {tests.figure('idle connections'):,.0f} idle", each, 40)
    row.at_most("p99 of others {} ms", tests.figure("ms at p99 beside slow clients"), 50)
    row.tests(tests)


def http2(runner, row):
    tests = runner.black_box("api::limits::load", "api::limits::large_heads", "api::limits::budget")
    resets = tests.figure("streams opened and reset")
    row.add(f"{resets:,.0f} resets", resets >= (100_000 if runner.whole else 30_000))
    row.at_most("at most {} MiB more", tests.worst("MiB more after"), 63)
    row.tests(tests)


def constant_time(runner, row):
    output, status = runner.run(["cargo", "bench", "--locked", "--bench", "timing"])
    rows = re.findall(r"^(\S.*?)\s{2,}([0-9.]+)$", output, re.MULTILINE)
    control = [float(t) for name, t in rows if name.startswith("control")]
    others = [(float(t), name) for name, t in rows if not name.startswith("control")]
    if not control or not others:
        raise tools.Failed("timing: " + tools.last_line(output))
    if control[0] < 4.5:
        raise tools.NotRun(f"the control was not found (|t| {control[0]}): the machine is too busy")
    worst, name = max(others)
    row.at_most(f"largest |t| of {len(others)} {{}} ({name})", worst, 4.5)
    row.add(f"control {control[0]:.0f}", status == 0 or worst > 4.5)


def own_code(runner, row):
    # Neither in a comment nor in a text.
    code = re.compile(r"[^/\"]*\bunsafe\s*(\{|fn|impl|extern)")
    unsafe = sum(code.match(line) is not None for line in tools.source_lines())
    row.at_most("{} lines of unsafe code", unsafe, 60)
    packages = [word for crate in PATH for word in ("--package", f"kes-{crate}")]
    command = ["cargo", "clippy", "--locked", *packages, "--lib", "--", "-D", "warnings"]
    output, status = runner.run(command)
    said = "lints find no reachable panic" if status == 0 else tools.last_line(output)
    row.add(said, status == 0)
    tools.need("strace", "which shows system calls")
    tools.need("systemd-analyze", "which knows the filter")
    names = [] if runner.whole else ["api::answers", "lifecycle::reload", "vault::job", "folder::"]
    output, status = runner.run(["python3", ".ci/syscalls", *names])
    servers = re.search(r"^(\d+) servers ran$", output, re.MULTILINE)
    if servers is None:
        raise tools.Failed(".ci/syscalls: " + tools.last_line(output))
    calls = "within the filter" if status == 0 else tools.last_line(output)
    row.add(f"system calls of {servers.group(1)} servers {calls}", status == 0)


def mutants(runner, row):
    if not runner.whole:
        raise tools.NotRun("it takes more than an hour; only with --whole")
    output, _ = runner.run(["bash", ".ci/mutants"])
    found = re.search(r"^(\d+) mutants? tested in .*?: (.*)$", output, re.MULTILINE)
    if found is None:
        raise tools.Failed(".ci/mutants: " + tools.last_line(output))
    counts = {name: int(count) for count, name in re.findall(r"(\d+) (\w+)", found.group(2))}
    row.at_most("{} missed of " + found.group(1), counts.get("missed", 0), 0)
    row.not_run.append("coverage of lines is not measured")


def supply_chain(runner, row):
    output, status = runner.run(["bash", ".ci/deny"])
    row.add("cargo-deny finds nothing" if status == 0 else tools.last_line(output), status == 0)
    with open(os.path.join(tools.ROOT, "Cargo.lock"), encoding="utf-8") as file:
        sources = re.findall(r'^source = "(.*)"$', file.read(), re.MULTILINE)
    others = [source for source in sources if not source.startswith("registry+")]
    row.at_most("{} sources beside the registry", len(others), 0)
    bill = json.loads(runner.must(["python3", ".ci/sbom"]))
    linked = sum(component["scope"] == "required" for component in bill["components"])
    row.at_most("{} crates linked", linked, 220)
    told = len(bill["components"])
    row.add(f"bill of materials of {told} crates, lock file of {len(sources)}", told == len(sources))
    row.tests(runner.black_box("layout::sbom", "layout::dependencies"))
    if runner.whole:
        output, status = runner.run(["bash", ".ci/reproducible"])
        row.add(tools.last_line(output), status == 0)
    else:
        with open(runner.subject(), "rb") as file:
            program = file.read()
        local = [os.path.expanduser("~/.cargo"), tools.ROOT]
        told = [path for path in local if path.encode() in program]
        row.add("the program tells " + (" and ".join(told) or "no folder of this machine"), not told)


def audit(runner, row):
    tests = runner.black_box("logs::", "audit::")
    requests, recorded = tests.figure("requests"), tests.figure("requests in the audit log")
    row.add(f"{recorded:,.0f} of {requests:,.0f} requests recorded", requests == recorded)
    recorded = tests.figure("records in the audit file")
    row.add(f"{recorded:,.0f} in the audit file", requests == recorded)
    lost = tests.figure("lines that a stalled reader lost")
    row.add(f"{lost:,.0f} lines that a stalled reader lost are counted", True)
    row.tests(tests)
    tests = runner.of_crate("kes-audit", "lib", "verify::")
    for what in ("kinds of tampering", "changed bytes"):
        made, found = tests.figure(what), tests.figure(f"{what} found")
        row.add(f"{found:,.0f} of {made:,.0f} {what} found", made == found)
    row.tests(tests)


def life(runner, row):
    tests = runner.black_box("lifecycle::footprint::a_server", "lifecycle::reload", "lifecycle::trust")
    reloads = tests.figure("reloads under load")
    served = tests.figure("requests during reloads")
    enough = reloads >= (100 if runner.whole else 20)
    row.add(f"{reloads:.0f} reloads beside {served:,.0f} requests, none failed", enough)
    row.at_most("listens after {} ms", tests.figure("ms until it listens, median"), 30)
    row.at_most("{} MiB resident", tests.figure("MiB resident at rest"), 12)
    row.tests(tests)


ALL = [
    Check(1, "systemd exposure", "≤ 1.5", exposure),
    Check(2, "key bytes left 1 s after a delete", "0 raw, ≤ 1 base64", remains),
    Check(3, "core dumps and ptrace", "no core; refused to the same user", guarded),
    Check(4, "swap and locked memory", "0 crashes with 8 MiB; all locked without a limit; 0 swapped",
          locked, "200 connections, 3 s", "2,000 connections, 60 s"),
    Check(5, "secrets in output", "0 hits", secrets),
    Check(6, "kills (`fs`)", "0 acknowledged keys lost, 0 torn", kills, "100 kills", "1,000 kills"),
    Check(7, "faults of the disk (`fs`)", "right status, no partial key, recovers", faults_of_calls),
    Check(8, "faults of Vault", "answer ≤ 15 s; back ≤ 15 s; no token to another host",
          faults_of_vault, "30 s of random faults", "10 min of random faults"),
    Check(9, "cold herd", "1,000 requests, 1 read, 0 errors", herd),
    Check(10, "fuzzing", "≥ 8 targets, 0 crashes, no input > 1 s; whole: ≥ 10^7 runs each",
          fuzzing, "10 s a target", "10 min a target"),
    Check(11, "second implementations and vectors", "100 %", vectors, "1,000 cases", "10,000 cases"),
    Check(12, "client certificates", "the verdict of the contract in every cell; wrong key: 0 accepted",
          certificates),
    Check(13, "slow and idle clients", "closed at 5 / 5 / 5 / 15 s (±1); ≤ 40 KiB each; p99 < 50 ms",
          slow_clients, "500 idle, 200 slow", "5,000 idle, 200 slow"),
    Check(14, "HTTP/2 abuse", "< 64 MiB more; others served", http2, "30,000 resets", "100,000 resets"),
    Check(15, "constant time", "|t| < 4.5", constant_time),
    Check(16, "unsafe code, panics, system calls", "≤ 60 lines; 0 panics; within the unit's filter",
          own_code, "four modules of the tests", "all tests"),
    Check(17, "mutants and coverage", "0 missed; ≥ 90 % of lines", mutants,
          "none", "all mutants"),
    Check(18, "supply chain and builds", "0 advisories, 0 git sources, ≤ 220 crates, equal builds",
          supply_chain, "one build", "two builds"),
    Check(19, "audit", "10,000 of 10,000 requests recorded; 100 % of tampering found", audit),
    Check(20, "reload, start, size", "0 failed requests; ≤ 30 ms; ≤ 12 MiB", life,
          "20 reloads, 20 starts", "100 reloads, 50 starts"),
]
