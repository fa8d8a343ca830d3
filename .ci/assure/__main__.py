#!/usr/bin/env python3
"""The twenty checks of reliability and security, each with its target, its figure and a verdict:

    python3 .ci/assure [--whole] [NUMBER...]    makes all checks, or those that are named
    python3 .ci/assure --list                   prints the checks and their targets

`docs/assurance.md` says what each check does. Checks that take long have a short form, and the table
says which one was made; `--whole` takes hours. The program is what `.ci/release` builds; KES_SUBJECT
names another one. The status is 0 if all checks were made and no target was missed.
"""

import argparse
import sys
import time

sys.dont_write_bytecode = True

import checks  # noqa: E402
import tools  # noqa: E402


def main():
    parser = argparse.ArgumentParser(
        prog="python3 .ci/assure", description="Makes the checks of docs/assurance.md."
    )
    parser.add_argument("--whole", action="store_true", help="long checks in full: hours")
    parser.add_argument("--list", action="store_true", help="print the checks and their targets")
    parser.add_argument("numbers", metavar="NUMBER", nargs="*", type=int, help="checks to make")
    arguments = parser.parse_args()
    numbers = [check.number for check in checks.ALL]
    unknown = [number for number in arguments.numbers if number not in numbers]
    if unknown:
        parser.error(f"there is no check {unknown[0]}: they are {numbers[0]} to {numbers[-1]}")
    chosen = [check for check in checks.ALL if check.number in (arguments.numbers or numbers)]
    if arguments.list:
        for check in chosen:
            print(check.head())
        return 0

    runner = tools.Runner(arguments.whole)
    print(f"{tools.machine()}\n")
    print("| # | check | target | figure | run | verdict |")
    print("| --- | --- | --- | --- | --- | --- |", flush=True)
    met = 0
    for check in chosen:
        start = time.monotonic()
        print(f"{check.number}: {check.name}", file=sys.stderr, flush=True)
        row = check.make(runner)
        met += row.is_met
        print(f"  {row.verdict}, {tools.minutes_since(start)}", file=sys.stderr, flush=True)
        print(row.line(), flush=True)
    print(f"\n{met} of {len(chosen)} met")
    return 0 if met == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
