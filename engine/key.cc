// SPDX-License-Identifier: Apache-2.0
#include "engine/key.h"

#include <array>

#include "engine/base/check.h"

namespace cairn {

BlockId block_id(const BlockName& name, std::uint64_t secret) {
  CAIRN_DCHECK(is_valid_key(name.key));
  // Fixed-size fields stand in front, so no two names share an image.
  std::array<std::byte, 6 + kKeyLengthMax> image;
  store_le(image, 0, static_cast<std::uint32_t>(name.namespace_id));
  store_le(image, 4, name.part);
  std::memcpy(image.data() + 6, name.key.data(), name.key.size());
  return {xxh3_128(ByteSpan(image).first(6 + name.key.size()), secret)};
}

}  // namespace cairn
