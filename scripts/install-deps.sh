#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs the Debian 12 packages that Cairn is built and tested with, and only those that
# are missing: when all are there it touches neither apt nor the network.
#
#   scripts/install-deps.sh            what build, check and demo need
#   scripts/install-deps.sh --tidy     also clang-tidy, clang-format and clang
#   scripts/install-deps.sh --coverage also gcovr
#   scripts/install-deps.sh --list     only prints what is missing; exit 1 if anything is
set -euo pipefail

packages=(
  cmake ninja-build g++ make pkg-config git ca-certificates
  librocksdb-dev    # the durable index
  liburing-dev      # asynchronous I/O
  libxxhash-dev     # checksums, BlockId, native chains
  libzstd-dev       # the codec's entropy coder
  libssl-dev        # SHA-256 of vLLM's and SGLang's chains
  libabsl-dev       # Status, flat_hash_map
  libcli11-dev nlohmann-json3-dev           # the command line
  libgtest-dev libgmock-dev libbenchmark-dev
  python3 python3-cbor2 python3-xxhash      # scripts, and vectors computed by another hand
  fio               # the yardstick of the disk benches
)
# Makes a second build fast; not worth a look at the network of its own.
optional=(ccache)

list_only=false
for argument in "$@"; do
  case "$argument" in
    --tidy) packages+=(clang-14 clang-tidy-14 clang-format-14 libclang-rt-14-dev) ;;
    --coverage) packages+=(gcovr) ;;
    --list) list_only=true ;;
    *) echo "install-deps: unknown argument '$argument'" >&2; exit 2 ;;
  esac
done

if ! command -v dpkg-query >/dev/null; then
  echo "install-deps: this is not a Debian system; have these installed: ${packages[*]}" >&2
  exit 1
fi

# Prints those of its arguments that dpkg does not have installed.
missing_of() {
  local package
  for package in "$@"; do
    dpkg-query -W -f='${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || echo "$package"
  done
}

mapfile -t missing < <(missing_of "${packages[@]}")
mapfile -t missing_optional < <(missing_of "${optional[@]}")
if [ "$list_only" = true ]; then
  [ "${#missing[@]}" -eq 0 ] && exit 0
  printf '%s\n' "${missing[@]}"
  exit 1
fi
[ "${#missing[@]}" -eq 0 ] && exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if command -v sudo >/dev/null; then
    as_root=(sudo)
  else
    echo "install-deps: not root and no sudo. Missing: ${missing[*]}" >&2
    echo "install-deps: as root, run: apt-get install ${missing[*]}" >&2
    exit 1
  fi
fi

install_packages() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y --no-install-recommends -o DPkg::Lock::Timeout=120 "$@" </dev/null >&2
}

echo "install-deps: installing ${missing[*]} ${missing_optional[*]}" >&2
"${as_root[@]}" apt-get update </dev/null >&2 || echo "install-deps: apt-get update failed; trying with what is known" >&2
if ! install_packages "${missing[@]}" "${missing_optional[@]}" && ! install_packages "${missing[@]}"; then
  echo "install-deps: apt could not install: ${missing[*]}" >&2
  echo "install-deps: with a network and as root, run: apt-get install ${missing[*]}" >&2
  exit 1
fi
