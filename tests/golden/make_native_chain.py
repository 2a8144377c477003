#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes native_chain.json, the vectors of Cairn's native hash chain.

Run once when the chain was defined; the file is kept and never regenerated to make a test
pass: keys in stores depend on it. Needs the PyPI package xxhash, shares no code with engine/.

    local_i = XXH3-128(tokens of block i as u32le)
    key_i   = XXH3-128(key_{i-1} || local_i)
    key_-1  = XXH3-128(seed string || for each extra key: u32le length || bytes)

Seed 0 everywhere; a digest is 16 bytes, high64 || low64, big-endian.
"""
import hashlib
import json
import struct
import sys

import xxhash

EDGES = [0, 1, 23, 24, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1]
IMAGE = {"identifier": "img-sha-abc", "offset": 8, "length": 12}
SOUND = {"identifier": "sound", "offset": 40, "length": 3}


def scrambled(count):
    return [(i * 2654435761 + 12345) % 2**32 for i in range(count)]


def case(name, tokens, block_tokens=16, seed="", lora="", salt="", features=(), embeds=None, row_bytes=0):
    return dict(name=name, seed=seed, block_tokens=block_tokens, lora=lora, salt=salt,
                features=list(features), embeds=embeds, row_bytes=row_bytes, tokens=tokens)


CASES = [
    case("plain", list(range(32))),
    case("seeded", list(range(32)), seed="cairn"),
    case("utf8_seed", list(range(16)), seed="Steinmännchen"),
    case("widths", (EDGES + EDGES)[:16]),
    case("partial_tail_has_no_key", list(range(37))),
    case("less_than_a_block", list(range(15))),
    case("block_of_1", EDGES, block_tokens=1),
    case("block_of_2", scrambled(9), block_tokens=2),
    case("block_of_32", scrambled(96), block_tokens=32),
    case("block_of_64", scrambled(192), block_tokens=64),
    case("block_of_512", scrambled(1024), block_tokens=512),
    case("lora", list(range(32)), seed="s", lora="X"),
    case("salt_is_not_lora", list(range(32)), seed="s", salt="X"),
    case("features", list(range(48)), seed="s", features=[IMAGE, SOUND]),
    case("embeds", list(range(32)), seed="s", embeds=bytes(range(128)).hex(), row_bytes=4),
    case("everything", list(range(32)), seed="s", lora="l", salt="t", features=[IMAGE],
         embeds=bytes(range(64)).hex(), row_bytes=2),
]


def digest(data):
    canonical = xxhash.xxh3_128(data, seed=0)
    value = canonical.intdigest()
    assert canonical.digest() == value.to_bytes(16, "big")
    return canonical.digest()


def extra_keys(vector):
    if vector["lora"]:
        yield b"L" + vector["lora"].encode()
    for feature in vector["features"]:
        yield b"M" + feature["identifier"].encode() + struct.pack("<qq", feature["offset"], feature["length"])
    if vector["salt"]:
        yield b"S" + vector["salt"].encode()
    if vector["embeds"] is not None:
        yield b"E" + hashlib.sha256(bytes.fromhex(vector["embeds"])).digest()


def keys(vector):
    root = vector["seed"].encode()
    for extra in extra_keys(vector):
        root += struct.pack("<I", len(extra)) + extra
    key, size = digest(root), vector["block_tokens"]
    for block in range(len(vector["tokens"]) // size):
        tokens = vector["tokens"][block * size:(block + 1) * size]
        key = digest(key + digest(struct.pack(f"<{size}I", *tokens)))
        yield key.hex()


def main():
    for vector in CASES:
        vector["keys"] = list(keys(vector))
    lines = ",\n".join("  " + json.dumps(vector, ensure_ascii=False) for vector in CASES)
    sys.stdout.write('{"about": "Vectors of Cairn\'s native chain, made by make_native_chain.py",\n'
                     ' "license": "Apache-2.0",\n "vectors": [\n' + lines + "\n]}\n")


if __name__ == "__main__":
    main()
