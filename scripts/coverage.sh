#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs the tests once under gcov and prints what of engine/, tiers/ and tools/ they reach.
# The page with the lines themselves: build/coverage/report/index.html
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
jobs=${JOBS:-$(nproc)}
cmake --preset coverage -DCAIRN_TEST_TIMEOUT_FACTOR=5 >/dev/null
cmake --build build/coverage --target programs tests_all -- -j"$jobs"
find build/coverage -name '*.gcda' -delete
CAIRN_TEST_SCALE=${CAIRN_TEST_SCALE:-0.2} \
  ctest --test-dir build/coverage -j"$jobs" -L sanitized --no-tests=error --output-on-failure | tail -5 || true
mkdir -p build/coverage/report
gcovr --root . --object-directory build/coverage --filter 'engine/' --filter 'tiers/' --filter 'tools/' \
  --exclude-throw-branches --html-details build/coverage/report/index.html --print-summary
