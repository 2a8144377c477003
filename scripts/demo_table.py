#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prints what `cairn replay --json` reports as a table for somebody who sees Cairn first."""

import json
import sys


def size(count):
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024


def rows_of_requests(report):
    hits = report["hits"]
    served = sum(hits.values())
    yield "requests replayed", f"{report['requests']:,}"
    yield "blocks they are made of", f"{report['blocks']:,} ({report['tokens']:,} tokens)"
    yield "found in RAM (hot)", f"{hits.get('hot', 0):,} blocks"
    yield "found on NVMe (cold)", f"{hits.get('cold', 0):,} blocks"
    yield "not there, put for next time", f"{max(report['blocks'] - served, 0):,} blocks"
    yield "prompt that need not be computed", f"{100 * report['prefix_hit_ratio']['tokens']:.1f} % of tokens"
    yield "speed of puts, of reads", f"{size(report['put_bytes_per_s'])}/s, {size(report['get_bytes_per_s'])}/s"
    yield "evicted to make room", f"{report['evicted_blocks']:,} blocks"


def rows_of_recovery(recovery):
    yield "killed with", f"signal {recovery['signal']}, {recovery['puts_in_flight']} puts in flight"
    yield "first block served after the restart", f"{1000 * recovery['first_hit_s']:.0f} ms"
    yield "all blocks known again after", f"{1000 * recovery['full_s']:.0f} ms"
    meaning = {"memory": "may be lost", "written": "must survive a kill", "durable": "must survive a power cut"}
    for word, counts in recovery["by_durability"].items():
        yield (f"put as '{word}' ({meaning.get(word, '')})",
               f"{counts['acknowledged']:,} acknowledged, {counts['found']:,} found, "
               f"{counts['evicted']:,} evicted, {counts['lost']:,} lost")


def print_table(sections):
    rows = [row for section in sections for row in section]
    left = max(len(label) for label, _ in rows)
    right = max(len(value) for _, value in rows)
    line = "+" + "-" * (left + 2) + "+" + "-" * (right + 2) + "+"
    print(line)
    for section in sections:
        for label, value in section:
            print(f"| {label:<{left}} | {value:<{right}} |")
        print(line)


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        text = file.read()
    if not text.strip():
        sys.exit("demo: replay printed no result")
    report = json.loads(text)
    if "error" in report:
        sys.exit(f"demo: {report['error']}: {report['message']}. {report.get('hint', '')}")
    sections = [list(rows_of_requests(report))]
    if report.get("recovery"):
        sections.append(list(rows_of_recovery(report["recovery"])))
    sections.append([("bytes read and verified", size(report["verified_bytes"])),
                     ("wrong bytes", f"{report['wrong_bytes']:,}")])
    print_table(sections)


if __name__ == "__main__":
    main()
