#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Two readings of engine/, tiers/ and tools/ by clang 14: the thread-safety analysis of the
# lock annotations (engine/base/mutex.h), then clang-tidy with .clang-tidy. The tests are not
# read: gtest's macros alone would drown the rest.
#
#   scripts/tidy.sh [--threads-only] [FILE…]
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
threads_only=false
if [ "${1:-}" = --threads-only ]; then threads_only=true; shift; fi
jobs=${JOBS:-$(nproc)}
cmake --preset tidy >/dev/null || exit 1
mapfile -t files < <(if [ $# -gt 0 ]; then printf '%s\n' "$@"; else
  git ls-files 'engine/*.cc' 'tiers/*.cc' 'tools/*.cc'; fi)

status=0
echo "== thread-safety analysis of ${#files[@]} files"
printf '%s\n' "${files[@]}" | grep -E '^(engine|tiers)/' |
  xargs -P "$jobs" -n 4 clang++-14 -std=c++20 -fsyntax-only -I. -DCAIRN_DCHECKS=1 -Wthread-safety \
    -Werror=thread-safety || status=1
if [ "$threads_only" = false ]; then
  echo "== clang-tidy"
  printf '%s\n' "${files[@]}" |
    xargs -P "$jobs" -n 2 clang-tidy-14 --quiet -p build/tidy 2> >(grep -vE 'warnings generated|^$' >&2) || status=1
fi
[ "$status" -eq 0 ] && echo "tidy: nothing to say about ${#files[@]} files"
exit "$status"
