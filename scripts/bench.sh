#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs every named bench and keeps its JSON in build/bench/. Short form by default:
#
#   scripts/bench.sh [--full] [NAME…]
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
program=build/release/bin/cairn
form=(--quick)
if [ "${1:-}" = --full ]; then form=(); shift; fi
names=("$@")
if [ ${#names[@]} -eq 0 ]; then
  names=(lookup hash codec acquire cold-load cold-put cold-get write-amp restart catalog)
fi
mkdir -p build/bench
status=0
for name in "${names[@]}"; do
  echo "== $name" >&2
  "$program" bench "$name" "${form[@]}" --json </dev/null >"build/bench/$name.json" || { status=1; continue; }
  scripts/python.sh - "build/bench/$name.json" <<'P'
import json, sys
for case in json.load(open(sys.argv[1]))["cases"]:
    yardstick = case["yardstick"]
    print(f"{case['case']:<36} {case['figure']:>12.4g} {case['unit']:<10} {yardstick['name']} "
          f"{yardstick['figure']:.4g}  ratio {case['ratio']:.3f}  goal {case['goal']}  "
          f"{'met' if case['met'] else 'NOT MET'}")
P
done
exit $status
