// SPDX-License-Identifier: Apache-2.0
// stored_images.h — images as other tiers lend them, and what is in one.
//
// Threading: pure functions. Blocking: cpu.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "engine/tier.h"
#include "tiers/record/stored_image.h"

namespace cairn::test {

/// How a payload is stored, and where it lies.
struct ImageShape {
  bool coded = false;
  /// In pieces of so many pages, each beginning on a page and none beside the one before it, as
  /// warm has them; 0: in one, and on no page.
  std::size_t piece_pages = 0;
};

/// An image that keeps all it says: nothing of the arguments is borrowed. Given out as one that can
/// be changed, for tests of what nobody should believe.
std::shared_ptr<StoredImage> make_image(const BlockName& name, const BlockFacts& facts,
                                        ByteSpan plain, std::uint32_t chunk_bytes, ImageShape shape,
                                        Dtype dtype = Dtype::opaque);

/// The stored bytes, put together.
std::string stored_bytes_of(const StoredImage& image);
/// The payload, decoded; `corruption` where it is not sound.
absl::StatusOr<std::string> plain_bytes_of(const StoredImage& image);

}  // namespace cairn::test
