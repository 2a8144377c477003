// SPDX-License-Identifier: Apache-2.0
// The low-level calls are deprecated in favour of EVP, not removed; they alone neither allocate
// nor look anything up.
#define OPENSSL_SUPPRESS_DEPRECATED
#include "engine/hash/sha256.h"

#include <openssl/sha.h>

namespace cairn::detail {

void sha256_in_place(std::byte* buffer, std::size_t length, std::byte* digest) {
  // Padding: one bit, zeros up to 56 modulo 64, the length in bits.
  const std::size_t padded = (length + 8) / 64 * 64 + 64;
  buffer[length] = std::byte{0x80};
  std::memset(buffer + length + 1, 0, padded - 8 - length - 1);
  const std::uint64_t bits = __builtin_bswap64(std::uint64_t{length} * 8);
  std::memcpy(buffer + padded - 8, &bits, sizeof bits);

  SHA256_CTX state;
  SHA256_Init(&state);
  SHA256_Update(&state, buffer, padded);  // whole blocks: nothing is buffered
  for (std::size_t i = 0; i < 8; ++i) {
    const std::uint32_t word = __builtin_bswap32(state.h[i]);
    std::memcpy(digest + 4 * i, &word, sizeof word);
  }
}

Sha256Digest sha256(ByteSpan bytes) {
  Sha256Digest digest;
  SHA256_CTX state;
  SHA256_Init(&state);
  SHA256_Update(&state, bytes.data(), bytes.size());
  SHA256_Final(reinterpret_cast<unsigned char*>(digest.data()), &state);
  return digest;
}

}  // namespace cairn::detail
