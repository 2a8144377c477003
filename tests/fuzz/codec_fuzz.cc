// SPDX-License-Identifier: Apache-2.0
// Chunks from any bytes at all: the first says how they are read, the next three the plain length.
// Decoding must refuse or fill exactly that; and the same bytes, taken for plain ones, must come
// back from every encoding.
#include <cstdlib>
#include <cstring>
#include <vector>

#include "engine/base/check.h"
#include "tiers/codec/plane_codec.h"

using namespace cairn;  // a target is one function
using namespace cairn::tiers;

namespace {

constexpr std::size_t kPlainMax = 256 * kKiB;

struct Workers {
  ChunkEncoder encoder{kPlainMax};
  ChunkDecoder decoder{kPlainMax};
  ChunkDecoder scalar{kPlainMax, Simd::scalar};
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static Workers workers;
  if (size < 4) return 0;
  const ByteSpan bytes{reinterpret_cast<const std::byte*>(data), size};
  const auto encoding = static_cast<ChunkEncoding>(data[0] % 5);
  const std::size_t plain_bytes = (load_le<std::uint32_t>(bytes) >> 8) % kPlainMax;
  const ByteSpan input = bytes.subspan(4);

  std::vector<std::byte> one(plain_bytes), other(plain_bytes);
  const bool decoded = workers.decoder.decode(encoding, input, one).ok();
  CAIRN_CHECK(workers.scalar.decode(encoding, input, other).ok() == decoded);
  if (decoded) CAIRN_CHECK(one == other);

  const ByteSpan plain = input.first(std::min(input.size(), kPlainMax));
  const auto dtype = static_cast<Dtype>(data[1] % 6);
  std::vector<std::byte> stored(plain.size()), back(plain.size());
  const EncodedChunk chunk = workers.encoder.encode(dtype, plain, stored);
  CAIRN_CHECK(
      workers.decoder.decode(chunk.encoding, ByteSpan(stored).first(chunk.stored_bytes), back)
          .ok());
  CAIRN_CHECK(plain.empty() || std::memcmp(back.data(), plain.data(), plain.size()) == 0);
  return 0;
}
