#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A consumer's whole way: install this build into an empty prefix, configure examples/embed
# against nothing but that prefix, build it, run it twice. The second run must find what the
# first one put, so the installed library stores as well as it links.
#
#   run.sh BUILD_DIRECTORY SOURCE_DIRECTORY CXX_COMPILER
set -euo pipefail
build=$1 source=$2 compiler=$3
work=$(mktemp -d "${TMPDIR:-/tmp}/cairn-consumer.XXXXXX")
trap 'rm -rf "$work"' EXIT

cmake --install "$build" --prefix "$work/prefix" --component library >/dev/null
[ -f "$work/prefix/include/cairn/tiers/open.h" ] || { echo "tiers/open.h was not installed"; exit 1; }
cp -r "$source/examples/embed" "$work/embed"
cmake -S "$work/embed" -B "$work/build" -G Ninja -DCMAKE_CXX_COMPILER="$compiler" \
  -DCMAKE_PREFIX_PATH="$work/prefix" -DCMAKE_FIND_USE_PACKAGE_REGISTRY=OFF >"$work/log" 2>&1 ||
  { cat "$work/log"; exit 1; }
cmake --build "$work/build" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }

first=$("$work/build/embed" "$work/store")
second=$("$work/build/embed" "$work/store")
printf '%s\n%s\n' "$first" "$second"
[ "$first" = "$(printf 'found 0 before\nsixteen tokens')" ] || { echo "the first run said otherwise"; exit 1; }
[ "$second" = "$(printf 'found 1 before\nsixteen tokens')" ] || { echo "the second run found nothing"; exit 1; }
