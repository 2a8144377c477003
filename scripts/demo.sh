#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The main job in one table: conversations are replayed through RAM and NVMe, the process is
# killed with SIGKILL while puts are in flight, a new one recovers, and every byte that is read
# is verified. At most 3 minutes, 4 GiB of disk and 3 GiB of RAM; leaves nothing behind.
#
#   CAIRN_DEMO_DIR   where the temporary store goes (default: $TMPDIR or /var/tmp)
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
program=build/release/bin/cairn
parent=${CAIRN_DEMO_DIR:-${TMPDIR:-/var/tmp}}
disk_needed_kib=$((4 * 1024 * 1024))
memory_needed_kib=$((3 * 1024 * 1024))

say() { printf '%s\n' "$*"; }

[ -x "$program" ] || { say "demo: $program is not there; run: make build" >&2; exit 1; }
mkdir -p "$parent" && work=$(mktemp -d "$parent/cairn-demo.XXXXXX") || exit 1
child=
cleanup() {
  trap - EXIT INT TERM
  [ -n "$child" ] && kill "$child" 2>/dev/null && wait "$child" 2>/dev/null
  rm -rf "$work"
}
trap cleanup EXIT
trap 'cleanup; exit 130' INT TERM

say "This takes at most 3 minutes, 4 GiB of disk in $parent and 3 GiB of RAM, and cleans up."
free_kib=$(df -Pk "$work" | awk 'NR == 2 { print $4 }')
if [ "$free_kib" -lt "$disk_needed_kib" ]; then
  say "demo: only $((free_kib / 1024)) MiB are free in $parent." >&2
  say "demo: name a directory with 4 GiB: CAIRN_DEMO_DIR=/some/disk make demo" >&2
  exit 1
fi
available_kib=$(awk '/^MemAvailable/ { print $2 }' /proc/meminfo)
if [ "$available_kib" -lt "$memory_needed_kib" ]; then
  say "Only $((available_kib / 1024)) MiB of RAM are available; the hot tier is made smaller."
  hot=256MiB
else
  hot=1GiB
fi
if ! dd if=/dev/zero of="$work/probe" bs=4096 count=1 oflag=direct status=none 2>/dev/null; then
  say "The file system of $parent has no O_DIRECT, so the page cache stands in between: it works,"
  say "and the figures say little of the disk. Better: CAIRN_DEMO_DIR=/dir/on/nvme make demo"
fi
rm -f "$work/probe"
if [ "$(cat /proc/sys/kernel/io_uring_disabled 2>/dev/null || echo 0)" != 0 ]; then
  say "io_uring is switched off here (sysctl kernel.io_uring_disabled); threads do the work instead."
fi
say

timeout --signal=TERM 170 "$program" replay --dir "$work/store" --model 1b --hot "$hot" --cold 3GiB \
  --kill-at 0.5 --json </dev/null >"$work/result.json" &
child=$!
wait "$child"
status=$?
child=
if [ "$status" -eq 124 ]; then
  say "demo: not done in 170 s. The disk of $parent may be slow; try CAIRN_DEMO_DIR=/another/disk" >&2
  exit 1
fi
scripts/python.sh scripts/demo_table.py "$work/result.json" || exit 1
exit "$status"
