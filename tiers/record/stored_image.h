// SPDX-License-Identifier: Apache-2.0
// stored_image.h — what StoredImage is: a record's fields and its payload, wherever they lie.
//
// Warm lends images of what it holds, cold makes them of what it reads, and either keeps the
// other's without running the codec: the header is made anew, the payload stays as it is.
//
// Threading:  immutable once it is handed on.
// Lifetime:   everything borrowed lives while the image does.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "engine/tier.h"
#include "tiers/record/record.h"

namespace cairn {

class StoredImage {
 public:
  /// Place and epoch mean nothing. Version, expiry, parent and pin are as of the write: who has the
  /// catalog knows better, and says so in TierWrite::facts. Key and chunk table borrow.
  tiers::RecordFields fields;
  /// In order, fields.payload_length bytes in all. From warm each but the last is whole pages and
  /// begins on a page.
  std::vector<ByteSpan> payload;
  /// Whatever keeps the borrowed bytes where they are.
  std::shared_ptr<const void> hold;
};

namespace tiers {

/// Whether a record of this block can be made of the image in a namespace of such chunks:
/// `invalid_argument` where it would be one of another namespace, `corruption` where it is another
/// block's, or its parts do not agree. Believes nothing, and leaves the chunks' bytes alone.
absl::Status check_image(const StoredImage& image, const BlockName& name, const BlockFacts& facts,
                         std::uint32_t chunk_bytes);
/// The sum of each chunk of an image that check_image() has found sound. `scratch` holds one chunk:
/// those that lie in pieces are put together there. Costs one XXH3-64 pass.
absl::Status check_image_sums(const StoredImage& image, MutableByteSpan scratch);

}  // namespace tiers
}  // namespace cairn
