"""How checks run programs and tests, and read the figures that they print."""

import json
import os
import re
import shutil
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# Longer than anything takes on two cores: what hangs is a failure, and ends.
SHORT_LIMIT = 30 * 60
WHOLE_LIMIT = 4 * 60 * 60


class NotRun(Exception):
    """A check cannot be made on this machine; the text says why."""


class Failed(Exception):
    """A check was begun and did not come to its figure."""


class Tests:
    """What tests did, and the figures that they printed."""

    def __init__(self, output, status):
        self.passed = re.findall(r"^test (\S+).* ok$", output, re.MULTILINE)
        self.failed = sorted(set(re.findall(r"^test (\S+).* FAILED$", output, re.MULTILINE)))
        self.figures = {}
        for name, value in re.findall(r"^figure: (.+) = (\S+)$", output, re.MULTILINE):
            self.figures.setdefault(name, []).append(float(value))
        if status != 0 and not self.failed:
            raise Failed("the tests ended early: " + last_line(output))

    def figure(self, name):
        """The worst value of a figure, for those where less is better."""
        if name not in self.figures:
            raise Failed(f"no test told '{name}'")
        return max(self.figures[name])

    def worst(self, start):
        """The worst of all figures whose names start like this."""
        values = [max(values) for name, values in self.figures.items() if name.startswith(start)]
        if not values:
            raise Failed(f"no test told '{start}'")
        return max(values)


class Runner:
    """Builds the program and the tests once, and runs them for the checks."""

    def __init__(self, whole):
        self.whole = whole
        self.limit = WHOLE_LIMIT if whole else SHORT_LIMIT
        self.program = None
        self.built = {}

    def run(self, command, env=None, cwd=ROOT, errors=subprocess.STDOUT):
        """The output of a command, with what it says of errors, and its status."""
        print("  $ " + " ".join(command)[:100], file=sys.stderr, flush=True)
        variables = os.environ | (env or {})
        try:
            done = subprocess.run(
                command, cwd=cwd, env=variables, timeout=self.limit, check=False, text=True,
                errors="replace", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=errors,
            )
        except subprocess.TimeoutExpired as error:
            raise Failed(f"{command[0]} did not end within {self.limit} s") from error
        return done.stdout, done.returncode

    def must(self, command):
        """The output of a command that has to succeed; what it says of errors goes to the terminal."""
        output, status = self.run(command, errors=None)
        if status != 0:
            raise Failed(f"`{' '.join(command)}` fails")
        return output

    def subject(self):
        """The program under test: `KES_SUBJECT`, or what a release is."""
        if self.program is None:
            named = os.environ.get("KES_SUBJECT")
            if named is None:
                named = self.must(["bash", ".ci/release"]).splitlines()[-1]
            self.program = os.path.abspath(named)
        return self.program

    def black_box(self, *names, env=None):
        """Runs the black-box tests whose names begin like this against the program."""
        env = {"KES_SUBJECT": self.subject()} | (env or {})
        return self.tests("kes", "tests", ["--test", "tests"], names, env)

    def of_crate(self, crate, target, *names, env=None):
        """Runs the tests of a crate: those of its library or of a file in `tests`."""
        selection = ["--lib"] if target == "lib" else ["--test", target]
        return self.tests(crate, target, ["--workspace", *selection], names, env)

    def tests(self, crate, target, selection, names, env):
        """Runs tests of one test program; each name has to match at least one."""
        program, folder = self.executable(crate, target, selection)
        env = (env or {}) | ({"KES_WHOLE": "1"} if self.whole else {})
        output, status = self.run([program, "--show-output", *names], env, folder)
        tests = Tests(output, status)
        ran = tests.passed + tests.failed
        for name in names or [""]:
            if not any(name in test for test in ran):
                raise Failed(f"no test of {crate} is called '{name}'")
        return tests

    def executable(self, crate, target, selection):
        """The path of a test program, and the folder in which it runs."""
        key = tuple(selection)
        if key not in self.built:
            command = ["cargo", "test", "--locked", "--no-run", "--message-format=json", *selection]
            self.built[key] = executables(self.must(command))
        if (crate, target) not in self.built[key]:
            raise Failed(f"{crate} has no tests '{target}'")
        return self.built[key][crate, target]


def executables(messages):
    """The test programs that cargo has built: (crate, target) to path and folder."""
    found = {}
    for line in messages.splitlines():
        message = json.loads(line) if line.startswith("{") else {}
        if message.get("executable") and message["profile"]["test"]:
            folder = os.path.dirname(message["manifest_path"])
            with open(message["manifest_path"], encoding="utf-8") as file:
                crate = re.search(r'^name = "(.+)"$', file.read(), re.MULTILINE).group(1)
            kind = message["target"]["kind"]
            name = "lib" if "lib" in kind else message["target"]["name"]
            if "bin" not in kind:
                found[crate, name] = message["executable"], folder
    return found


def need(program, why):
    """Fails a check for want of a program."""
    if shutil.which(program) is None:
        raise NotRun(f"{program} is not there, {why}")


def last_line(text):
    """What a program said last."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "it says nothing"


def source_lines():
    """All lines of Rust of the repository."""
    files = subprocess.run(
        ["git", "ls-files", "*.rs"], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
    ).stdout.splitlines()
    for name in files:
        with open(os.path.join(ROOT, name), encoding="utf-8") as file:
            yield from file


def machine():
    """What the figures were measured on."""
    with open("/proc/meminfo", encoding="utf-8") as file:
        kib = int(re.search(r"MemTotal:\s+(\d+)", file.read()).group(1))
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        model = re.search(r"model name\s*:\s*(.+)", file.read())
    name = model.group(1) if model else "unknown processor"
    kernel = ".".join(os.uname().release.split(".")[:2])
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores ({name}), {kib / (1 << 20):.0f} GiB of memory, Linux {kernel}"


def minutes_since(start):
    """For the progress that the command shows."""
    return f"{(time.monotonic() - start) / 60:.1f} min"
