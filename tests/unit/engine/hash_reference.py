#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Block keys computed a second time, from the published definitions, with other libraries.

Reads one JSON request a line from stdin and prints one JSON array of hexadecimal keys a line.
A request: {"scheme", "seed", "block_tokens", "group" or null, "tokens", "lora", "salt",
"features": [{"identifier", "offset", "length"}], "embeds": hex or null, "row_bytes", "model"}.
Exits 77 where cbor2 or xxhash is missing (scripts/install-deps.sh installs them).
"""
import hashlib
import json
import struct
import sys

try:
    import cbor2
    import xxhash
except ImportError as error:
    print(error, file=sys.stderr)
    sys.exit(77)


def xxh3(data):
    return xxhash.xxh3_128(data, seed=0).digest()


def sha256(data):
    return hashlib.sha256(data).digest()


def vllm_extra_keys(request, start, end):
    keys = []
    if request["lora"]:
        keys.append(request["lora"])
    for feature in request["features"]:
        if end > feature["offset"] and start < feature["offset"] + feature["length"]:
            keys.append((feature["identifier"], feature["offset"] - start))
    if start == 0 and request["salt"]:
        keys.append(request["salt"])
    if request["embeds"] is not None:
        rows, width = bytes.fromhex(request["embeds"]), request["row_bytes"]
        keys.append(sha256(rows[start * width:end * width]))
    return tuple(keys) or None


def vllm(request, digest):
    def hash_of(value):
        return digest(cbor2.dumps(value, canonical=True))

    parent, size, tokens = hash_of(request["seed"]), request["block_tokens"], request["tokens"]
    for start in range(0, len(tokens) - size + 1, size):
        extra = vllm_extra_keys(request, start, start + size)
        parent = hash_of((parent, tuple(tokens[start:start + size]), extra))
        yield parent


def sglang(request, units):
    parent, size = b"", request["block_tokens"]
    for start in range(0, len(units) - size + 1, size):
        parent = sha256(parent + b"".join(units[start:start + size]))
        yield parent


def native(request):
    extra = []
    if request["lora"]:
        extra.append(b"L" + request["lora"].encode())
    for feature in request["features"]:
        place = struct.pack("<qq", feature["offset"], feature["length"])
        extra.append(b"M" + feature["identifier"].encode() + place)
    if request["salt"]:
        extra.append(b"S" + request["salt"].encode())
    if request["embeds"] is not None:
        extra.append(b"E" + sha256(bytes.fromhex(request["embeds"])))
    prefixed = b"".join(struct.pack("<I", len(key)) + key for key in extra)
    key, size, tokens = xxh3(request["seed"].encode() + prefixed), request["block_tokens"], request["tokens"]
    for start in range(0, len(tokens) - size + 1, size):
        local = xxh3(struct.pack(f"<{size}I", *tokens[start:start + size]))
        key = xxh3(key + local)
        yield key


def dynamo(request):
    seed, size, tokens = int(request["seed"] or 1337), request["block_tokens"], request["tokens"]
    key = None
    for start in range(0, len(tokens) - size + 1, size):
        local = xxhash.xxh3_64_intdigest(struct.pack(f"<{size}I", *tokens[start:start + size]), seed=seed)
        key = local if key is None else xxhash.xxh3_64_intdigest(struct.pack("<QQ", key, local), seed=seed)
        yield struct.pack(">Q", key)


def flexkv(request):
    size, tokens, state = request["block_tokens"], request["tokens"], xxhash.xxh64(seed=0)
    for start in range(0, len(tokens) - size + 1, size):
        state.update(struct.pack(f"<{size}q", *tokens[start:start + size]))
        yield struct.pack(">Q", state.intdigest())


def fnv1a(data):
    value = 14695981039346656037
    for byte in data:
        value = (value ^ byte) * 1099511628211 % 2**64
    return value


def llm_d(request):
    size, tokens = request["block_tokens"], request["tokens"]
    root = (fnv1a(request["seed"].encode()), None, request["model"])
    parent = fnv1a(cbor2.dumps(root, canonical=True))
    for start in range(0, len(tokens) - size + 1, size):
        block = (parent, tuple(tokens[start:start + size]), None)
        parent = fnv1a(cbor2.dumps(block, canonical=True))
        yield struct.pack(">Q", parent)


def keys_of(request):
    scheme, tokens = request["scheme"], request["tokens"]
    if scheme == "native":
        return native(request)
    if scheme == "vllm-sha256-cbor":
        return vllm(request, sha256)
    if scheme == "vllm-xxhash-cbor":
        return vllm(request, xxh3)
    if scheme == "sglang":
        return sglang(request, [struct.pack("<I", token) for token in tokens])
    if scheme == "sglang-bigram":
        return sglang(request, [struct.pack("<II", *pair) for pair in zip(tokens, tokens[1:])])
    if scheme == "dynamo":
        return dynamo(request)
    if scheme == "flexkv":
        return flexkv(request)
    if scheme == "llm-d":
        return llm_d(request)
    raise ValueError(f"unknown scheme {scheme}")


def main():
    for line in sys.stdin:
        request = json.loads(line)
        suffix = b"" if request["group"] is None else struct.pack(">I", request["group"])
        print(json.dumps([(key + suffix).hex() for key in keys_of(request)]))


if __name__ == "__main__":
    main()
