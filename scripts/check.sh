#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds and runs the tests, then counts them. Three trees:
#
#   release  every test
#   asan     AddressSanitizer and UBSan: engine, tiers and parsers, a tenth of the random runs
#   tsan     ThreadSanitizer: the tests marked as threaded, a tenth of the random runs
#
#   scripts/check.sh [--scale N] [--trees "release asan tsan"]
#
# --scale multiplies the random runs, and the time limits when it is above 1. Everything goes
# to build/<tree>/check/; the last line is always "N passed, N failed, N skipped", and the
# exit status is 0 only if nothing failed and something ran.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scale=1
trees="release asan tsan"
while [ $# -gt 0 ]; do
  case "$1" in
    --scale) scale=$2; shift 2 ;;
    --trees) trees=$2; shift 2 ;;
    *) echo "check: unknown argument '$1'" >&2; exit 2 ;;
  esac
done
jobs=${JOBS:-$(nproc)}
base_scale=${CAIRN_TEST_SCALE:-1}
factor=$(awk -v s="$scale" 'BEGIN { print (s > 1) ? int(s + 0.999) : 1 }')
started=$SECONDS
broken=()

# build and test one tree: name, target to build, ctest arguments…
run_tree() {
  local tree=$1 target=$2 tree_scale=$3 tree_factor=$4; shift 4
  local directory=build/$tree results=build/$tree/check since=$SECONDS
  rm -rf "$results" && mkdir -p "$results/cases"
  echo "== $tree: configure and build" >&2
  if ! cmake --preset "$tree" -DCAIRN_PLANTED_BUG= -DCAIRN_TEST_TIMEOUT_FACTOR="$tree_factor" \
      >"$results/configure.log" 2>&1; then
    tail -40 "$results/configure.log" >&2
    broken+=("$tree: configure failed")
    return
  fi
  # shellcheck disable=SC2086 # targets are words
  if ! cmake --build "$directory" --target $target -- -j"$jobs" >"$results/build.log" 2>&1; then
    grep -E -A12 'error|FAILED' "$results/build.log" | head -60 >&2
    broken+=("$tree: build failed (see $results/build.log)")
    return
  fi
  echo "== $tree: built in $((SECONDS - since)) s; testing" >&2
  since=$SECONDS
  # No more tests at once than cores: time limits must mean something.
  CAIRN_TEST_SCALE=$(awk -v a="$base_scale" -v b="$tree_scale" -v c="$scale" 'BEGIN { print a * b * c }') \
    GTEST_OUTPUT="xml:$PWD/$results/cases/" GTEST_COLOR=no \
    ctest --test-dir "$directory" -j"$jobs" --no-tests=error --output-on-failure \
    --test-output-size-passed 8388608 --test-output-size-failed 8388608 \
    --output-junit "$PWD/$results/ctest.xml" "$@" </dev/null >"$results/ctest.log" 2>&1
  local status=$?
  grep -E '^ *[0-9]+/[0-9]+ Test' "$results/ctest.log" | grep -v ' Passed ' >&2
  echo "== $tree: tested in $((SECONDS - since)) s" >&2
  # A ctest that failed without a failed test (a crash of ctest, no tests) must not pass.
  [ -s "$results/ctest.xml" ] || broken+=("$tree: ctest exited $status and left no results")
}

for tree in $trees; do
  case "$tree" in
    release) run_tree release "programs tests_all" 1 "$factor" ;;
    asan) run_tree asan tests_sanitized 0.1 "$((factor * 3))" -L sanitized ;;
    tsan) run_tree tsan tests_threaded 0.1 "$((factor * 5))" -L threaded ;;
    *) echo "check: unknown tree '$tree'" >&2; exit 2 ;;
  esac
done

arguments=()
for tree in $trees; do arguments+=("build/$tree/check"); done
# What the release tree must have survived, at the ordinary scale or above.
if [[ " $trees " = *" release "* && -s build/release/check/ctest.xml ]] &&
    awk -v a="$base_scale" -v b="$scale" 'BEGIN { exit !(a * b >= 1) }'; then
  for least in kills=1000 cuts=200 flips=500 index_damages=200 faults=200 enospc=1 hang=5 \
      read_error=1 write_error=10 sync_error=1 short_read=1 short_write=10 flipped_read=1 \
      lost_write=10 misdirected_write=10; do
    arguments+=(--require "release:$least")
  done
fi
for failure in ${broken[@]+"${broken[@]}"}; do arguments+=(--broken "$failure"); done
scripts/python.sh scripts/summarize.py --seconds "$((SECONDS - started))" "${arguments[@]}"
