// SPDX-License-Identifier: Apache-2.0
// sha256.h — the one door to SHA-256 in engine/, made for many short messages.
//
// EVP, even with its context reused, adds 17 ns to the 85 ns of an 85-byte message (hash_bench,
// BM_Hash_bare_*). So the message is padded in place and handed to OpenSSL's block function in
// one piece; OpenSSL still picks SHA-NI, AVX2 or plain code by itself.
//
// Threading: pure functions. Blocking: cpu.
#pragma once

#include <array>
#include <cstddef>

#include "engine/base/bytes.h"

namespace cairn::detail {

constexpr std::size_t kSha256Bytes = 32;
using Sha256Digest = std::array<std::byte, kSha256Bytes>;

/// What sha256_in_place may write behind a message.
constexpr std::size_t kSha256PaddingMax = 72;

/// The digest of buffer[0, length) into `digest`. Overwrites up to kSha256PaddingMax bytes from
/// `length` on, which the caller provides.
void sha256_in_place(std::byte* buffer, std::size_t length, std::byte* digest);

Sha256Digest sha256(ByteSpan bytes);

}  // namespace cairn::detail
