#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs every libFuzzer target for FUZZ_SECONDS (default 60), starting from its corpus in
# tests/fuzz/corpus/. A finding is left beside the target's log as crash-*: put it into the
# corpus, where the ordinary tests replay it for ever, before fixing what it found.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
seconds=${FUZZ_SECONDS:-60}
cmake --preset fuzz >/dev/null
if ! ninja -C build/fuzz -t targets all 2>/dev/null | grep -q '^fuzzers:'; then
  echo "fuzz: there are no fuzz targets" >&2
  exit 1
fi
cmake --build build/fuzz --target fuzzers -- -j"${JOBS:-$(nproc)}"
status=0
for corpus in tests/fuzz/corpus/*/; do
  name=$(basename "$corpus")
  fuzzer=build/fuzz/bin/fuzz_$name
  work=build/fuzz/work/$name
  mkdir -p "$work/corpus"
  echo "== $name for $seconds s"
  "$fuzzer" -max_total_time="$seconds" -print_final_stats=1 -artifact_prefix="$work/" \
    "$work/corpus" "$corpus" >"$work/log" 2>&1 || { tail -30 "$work/log"; status=1; }
  grep -E 'number_of_executed_units' "$work/log" || true
done
exit "$status"
