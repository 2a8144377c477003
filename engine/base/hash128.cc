// SPDX-License-Identifier: Apache-2.0
#include "engine/base/hash128.h"

#include <xxhash.h>

#include "engine/base/check.h"

namespace cairn {
namespace {
Hash128 from_xxh(XXH128_hash_t hash) {
  return {hash.high64, hash.low64};
}
}  // namespace

std::uint64_t xxh3_64(ByteSpan bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}
Hash128 xxh3_128(ByteSpan bytes) {
  return from_xxh(XXH3_128bits(bytes.data(), bytes.size()));
}
Hash128 xxh3_128(ByteSpan bytes, std::uint64_t seed) {
  return from_xxh(XXH3_128bits_withSeed(bytes.data(), bytes.size(), seed));
}

std::string canonical_bytes(Hash128 hash) {
  std::string out;
  append_be(out, hash.high);
  append_be(out, hash.low);
  return out;
}

std::string to_hex(Hash128 hash) {
  return to_hex(as_bytes(canonical_bytes(hash)));
}

Xxh3Stream::Xxh3Stream() : state_(XXH3_createState()) {
  CAIRN_CHECK(state_ != nullptr);
  XXH3_64bits_reset(static_cast<XXH3_state_t*>(state_));
}
Xxh3Stream::~Xxh3Stream() {
  XXH3_freeState(static_cast<XXH3_state_t*>(state_));
}
void Xxh3Stream::update(ByteSpan bytes) {
  XXH3_64bits_update(static_cast<XXH3_state_t*>(state_), bytes.data(), bytes.size());
}
std::uint64_t Xxh3Stream::digest() const {
  return XXH3_64bits_digest(static_cast<const XXH3_state_t*>(state_));
}

}  // namespace cairn
