#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs the Python that has Debian's modules: on a machine with pyenv or conda the python3 of
# the PATH is another one, and knows no cbor2.
set -euo pipefail
for candidate in /usr/bin/python3 "$(command -v python3 || true)"; do
  [ -x "$candidate" ] || continue
  if "$candidate" -c 'import cbor2, xxhash' 2>/dev/null; then
    exec "$candidate" "$@"
  fi
done
# The scripts themselves need no module; only some tests do, and those say what they lack.
exec /usr/bin/env python3 "$@"
