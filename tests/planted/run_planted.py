#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Plants each bug of README.md's table and asks its tests to catch it.

    run_planted.py [--jobs N] [--list] [BUG…]

First the named tests must pass without any bug, or catching one would mean nothing. Then, for
each bug, the one tree build/planted is configured anew with -DCAIRN_PLANTED_BUG=<name> (only
the file that holds the switch is compiled again), the tests of its row are built, and run in
order until one fails. Prints bug → test case; exit 1 if a bug survives.
"""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

ROOT = pathlib.Path(__file__).resolve().parents[2]
TREE = ROOT / "build" / "planted"
ROW = re.compile(r"^\| `([a-z_]+)` \|(.*)\|\s*$")
TEST = re.compile(r"`([a-z]+)\.([a-z0-9_]+)(?::([^`]+))?`")


class Row:
    def __init__(self, bug, tests):
        self.bug = bug
        self.tests = tests  # (kind, binary, gtest filter or "")


def table():
    rows = []
    for line in (ROOT / "tests/planted/README.md").read_text().splitlines():
        match = ROW.match(line)
        if match:
            rows.append(Row(match.group(1), TEST.findall(match.group(2).split("|")[-1])))
    return rows


def run(command, log, **environment):
    with open(log, "a") as output:
        return subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                              env={**os.environ, **environment}).returncode


def build(bug, binaries, jobs, log):
    """Configures the tree with one bug, or none, and builds the tests. Exits when it cannot."""
    configure = ["cmake", "--preset", "release", "-B", str(TREE), f"-DCAIRN_PLANTED_BUG={bug}",
                 "-DCMAKE_CXX_FLAGS_RELWITHDEBINFO=-O1 -g1"]
    compile_tests = ["cmake", "--build", str(TREE), "--target", *sorted(binaries), "--", f"-j{jobs}"]
    for command in (configure, compile_tests):
        if run(command, log) != 0:
            print(f"planted: '{' '.join(command)}' failed; see {log}", file=sys.stderr)
            print("\n".join(log.read_text(errors="replace").splitlines()[-30:]), file=sys.stderr)
            sys.exit(1)


def failed_cases(report):
    try:
        cases = ElementTree.parse(report).getroot().iter("testcase")
    except (OSError, ElementTree.ParseError):
        return []
    return [f"{case.get('classname')}.{case.get('name')}" for case in cases if case.find("failure") is not None]


def catch(test, log):
    """What of this test failed, in words; None when it passed."""
    kind, binary, cases = test
    report = TREE / "planted" / f"{binary}.xml"
    report.unlink(missing_ok=True)
    environment = {"GTEST_OUTPUT": f"xml:{report}"}
    if cases:
        environment["GTEST_FILTER"] = cases
    command = ["ctest", "--test-dir", str(TREE), "--no-tests=error", "--output-on-failure",
               "-R", rf"^{kind}\.{binary}$"]
    if run(command, log, **environment) == 0:
        return None
    failed = failed_cases(report)
    if failed:
        return f"{kind}.{binary}: {failed[0]}" + (f" and {len(failed) - 1} more" if len(failed) > 1 else "")
    return f"{kind}.{binary}: did not end well (crash or time limit; see {log})"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=int(os.environ.get("JOBS", os.cpu_count() or 1)))
    parser.add_argument("--list", action="store_true", help="print the table's bugs and tests, build nothing")
    parser.add_argument("bugs", nargs="*")
    arguments = parser.parse_args()
    rows = [row for row in table() if not arguments.bugs or row.bug in arguments.bugs]
    unknown = set(arguments.bugs) - {row.bug for row in rows}
    if unknown or not rows:
        sys.exit(f"planted: not in the table: {', '.join(sorted(unknown)) or 'anything'}")
    if arguments.list:
        for row in rows:
            print(row.bug, " ".join(f"{kind}.{binary}" for kind, binary, _ in row.tests))
        return 0

    logs = TREE / "planted"
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir(parents=True)
    clean_log = logs / "no_bug.log"
    tests = list(dict.fromkeys(test for row in rows for test in row.tests))
    print(f"planted: {len(tests)} tests without a bug first", flush=True)
    build("", {binary for _, binary, _ in tests}, arguments.jobs, clean_log)
    for test in tests:
        failure = catch(test, clean_log)
        if failure is not None:
            sys.exit(f"planted: fails with no bug planted: {failure}; see {clean_log}")

    survivors = []
    for row in rows:
        log = logs / f"{row.bug}.log"
        build(row.bug, {binary for _, binary, _ in row.tests}, arguments.jobs, log)
        caught = next(filter(None, (catch(test, log) for test in row.tests)), None)
        print(f"{row.bug:<26} {'caught by ' + caught if caught else 'SURVIVED'}", flush=True)
        if caught is None:
            survivors.append(row.bug)
    build("", {binary for _, binary, _ in tests[:1]}, arguments.jobs, clean_log)
    print(f"{len(rows) - len(survivors)} of {len(rows)} planted bugs caught")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
