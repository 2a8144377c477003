#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Counts what a run of the tests did.

    summarize.py [--seconds S] [--broken TEXT]… [--require TREE:kills=200]… build/<tree>/check…

Each directory holds ctest.xml (ctest --output-junit) and cases/ (GTEST_OUTPUT=xml:cases/).
A gtest case counts as one test; a ctest entry without cases counts as one. An entry that
ctest calls failed although no case of it did (a crash, a time limit, a sanitizer's report at
exit) counts as one failure more. Lines `cairn-count: kills=12 cuts=3` on the output of a
test are added up by name; a tree that fired less than --require says has failed, as has one
that ran nothing: silence is not success.

Prints the counts and, last, "N passed, N failed, N skipped". Exit 1 if anything failed or
nothing passed.
"""

import argparse
import collections
import pathlib
import re
import sys
import xml.etree.ElementTree as ElementTree

COUNT = re.compile(r"cairn-count:((?:\s+[a-z_]+=\d+)+)")
PAIR = re.compile(r"([a-z_]+)=(\d+)")
SEED = re.compile(r"\bseed=(\S+)")
# An injector that is there but fired in no run has proved nothing.
EXPECTED_COUNTS = ("kills", "cuts", "flips", "faults")


class Tally:
    def __init__(self):
        self.by_kind = collections.defaultdict(lambda: collections.Counter())
        self.failures = []
        self.skips = collections.Counter()
        self.counts = collections.Counter()  # (tree, word)

    def add(self, tree, kind, outcome):
        self.by_kind[(tree, kind)][outcome] += 1

    def total(self, outcome):
        return sum(counter[outcome] for counter in self.by_kind.values())


def cases_of(directory, binary):
    """The newest report of a binary: a test that runs itself as a child leaves several."""
    reports = [path for path in (directory / "cases").glob("*.xml")
               if re.fullmatch(re.escape(binary) + r"(_\d+)?", path.stem)]
    for path in sorted(reports, key=lambda report: report.stat().st_mtime, reverse=True):
        try:
            return list(ElementTree.parse(path).getroot().iter("testcase"))
        except ElementTree.ParseError:
            continue  # written by a process that was killed
    return []


def reason_of(skipped):
    """gtest's skip message is "file:line\\nreason"."""
    text = (skipped.get("message") or skipped.text or "").strip()
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) > 1 and re.match(r".*:\d+$", lines[0]):
        lines = lines[1:]
    return " ".join(lines) or "no reason given"


def take_case(tally, tree, kind, entry, case):
    name = f"{tree} {entry} {case.get('classname')}.{case.get('name')}"
    skipped = case.find("skipped")
    if case.find("failure") is not None or case.find("error") is not None:
        tally.add(tree, kind, "failed")
        tally.failures.append(name)
        return True
    if skipped is not None or case.get("result") == "skipped":
        tally.add(tree, kind, "skipped")
        tally.skips[(tree, reason_of(skipped) if skipped is not None else "no reason given")] += 1
    elif case.get("status") == "notrun":
        tally.add(tree, kind, "skipped")
        tally.skips[(tree, "disabled in the source")] += 1
    else:
        tally.add(tree, kind, "passed")
    return False


def take_entry(tally, tree, directory, entry):
    """One ctest entry, named kind.binary."""
    name = entry.get("name")
    kind, _, binary = name.partition(".")
    output = "".join(node.text or "" for node in entry.iter("system-out"))
    for match in COUNT.finditer(output):
        for counter, value in PAIR.findall(match.group(1)):
            tally.counts[(tree, counter)] += int(value)

    status = entry.get("status")
    failed = status == "fail" or entry.find("failure") is not None
    cases = cases_of(directory, binary)
    failed_cases = [take_case(tally, tree, kind, name, case) for case in cases]
    if cases:
        if failed and not any(failed_cases):
            tally.add(tree, kind, "failed")
            failure = entry.find("failure")
            why = failure.get("message") if failure is not None else "exit status"
            tally.failures.append(f"{tree} {name} as a whole: {why or 'exit status'}")
    elif failed:
        tally.add(tree, kind, "failed")
        seeds = " ".join(f"seed={seed}" for seed in dict.fromkeys(SEED.findall(output)))
        tally.failures.append(f"{tree} {name} (no report: crashed or timed out) {seeds}".rstrip())
    elif status in ("notrun", "disabled") or entry.find("skipped") is not None:
        tally.add(tree, kind, "skipped")
        said = re.search(r"^SKIP: (.*)$", output, re.MULTILINE)
        tally.skips[(tree, said.group(1) if said else f"{name} was not run")] += 1
    else:
        tally.add(tree, kind, "passed")


def take_tree(tally, directory):
    tree = directory.parent.name
    report = directory / "ctest.xml"
    if not report.is_file():
        return
    before = tally.total("passed") + tally.total("failed")
    for entry in ElementTree.parse(report).getroot().iter("testcase"):
        take_entry(tally, tree, directory, entry)
    if tally.total("passed") + tally.total("failed") == before:
        tally.add(tree, "none", "failed")
        tally.failures.append(f"{tree}: no test ran")


def take_requirement(tally, text):
    """ "release:kills=200" """
    tree, word, least = re.fullmatch(r"(\w+):(\w+)=(\d+)", text).groups()
    fired = tally.counts[(tree, word)]
    if fired < int(least):
        tally.add(tree, "fired", "failed")
        tally.failures.append(f"{tree}: only {fired} {word} of at least {least}")


def report(tally, seconds):
    print()
    print(f"{'tree':<10}{'kind':<14}{'passed':>8}{'failed':>8}{'skipped':>9}")
    for (tree, kind), counter in sorted(tally.by_kind.items()):
        print(f"{tree:<10}{kind:<14}{counter['passed']:>8}{counter['failed']:>8}{counter['skipped']:>9}")
    if tally.skips:
        print("\nskipped, and why:")
        for (tree, reason), count in sorted(tally.skips.items()):
            print(f"  {count} × {tree}: {reason}")
    words = list(EXPECTED_COUNTS) + sorted({word for _, word in tally.counts} - set(EXPECTED_COUNTS))
    trees = sorted({tree for tree, _ in tally.by_kind})
    print("\nfired: " + ", ".join(f"{word} {sum(tally.counts[(tree, word)] for tree in trees)}" for word in words))
    for tree in trees:
        fired = [f"{word} {tally.counts[(tree, word)]}" for word in words if tally.counts[(tree, word)]]
        if fired:
            print(f"  {tree}: {', '.join(fired)}")
    if seconds is not None:
        print(f"took {seconds // 60} min {seconds % 60} s")
    if tally.failures:
        print("\nfailed:")
        for failure in tally.failures:
            print(f"  {failure}")
    print()
    print(f"{tally.total('passed')} passed, {tally.total('failed')} failed, {tally.total('skipped')} skipped")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int)
    parser.add_argument("--broken", action="append", default=[], help="something that failed before any test could run")
    parser.add_argument("--require", action="append", default=[], help="what a tree must have fired at least")
    parser.add_argument("directories", nargs="*", type=pathlib.Path)
    arguments = parser.parse_args()
    tally = Tally()
    for text in arguments.broken:
        tally.add(text.partition(":")[0], "build", "failed")
        tally.failures.append(text)
    for directory in arguments.directories:
        take_tree(tally, directory)
    for text in arguments.require:
        take_requirement(tally, text)
    report(tally, arguments.seconds)
    return 0 if tally.total("failed") == 0 and tally.total("passed") > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
