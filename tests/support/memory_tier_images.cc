// SPDX-License-Identifier: Apache-2.0
// What a MemoryTier makes of images, and images of what it has.
#include <string>

#include "engine/base/hash128.h"
#include "tests/support/memory_tier.h"
#include "tests/support/stored_images.h"
#include "tiers/record/record.h"

namespace cairn::test {

absl::StatusOr<std::string> MemoryTier::plain_bytes(const TierWrite& write,
                                                    const NamespaceInfo& info) const {
  if (write.image == nullptr ? write.payload.size() != write.facts.plain_bytes
                             : !write.payload.empty()) {
    return make_error(ErrorCode::invalid_argument, "the payload is not what the facts say");
  }
  if (write.image == nullptr) return std::string(as_text(write.payload));
  const StoredImage& image = *write.image;
  const std::uint32_t chunk_bytes = tiers::chunk_bytes_for(info.descriptor);
  CAIRN_RETURN_IF_ERROR(tiers::check_image(image, write.name, write.facts, chunk_bytes));
  return plain_bytes_of(image);
}

void MemoryTier::read_images(std::span<ImageRead> batch, Done done) {
  {
    MutexLock lock(mutex_);
    for (ImageRead& read : batch) {
      read.image.reset();
      read.status = read_image(read);
    }
  }
  finish(std::move(done));
}

absl::Status MemoryTier::read_image(ImageRead& read) {
  if (closed_) return make_error(ErrorCode::closed, "the tier is closed");
  if (read_failures_ > 0) {
    --read_failures_;
    return make_error(read_error_, "a fault the test asked for");
  }
  const auto found = residents_.find(read.location.bits);
  const NamespaceInfo* const info = find_namespace(read.name.namespace_id);
  if (found == residents_.end() || info == nullptr ||
      found->second.name != encode_name(read.name) ||
      found->second.facts.sequence != read.sequence) {
    return make_error(ErrorCode::corruption, "another block lies there");
  }
  const BlockFacts& facts = found->second.facts;
  const ByteSpan bytes = as_bytes(found->second.bytes->text);
  if (facts.plain_sum != 0 && xxh3_64(bytes) != facts.plain_sum) {
    ++corruptions_;
    return make_error(ErrorCode::corruption, "the payload's sum differs");
  }
  read.image = make_image(read.name, facts, bytes, tiers::chunk_bytes_for(info->descriptor), {});
  return absl::OkStatus();
}

}  // namespace cairn::test
