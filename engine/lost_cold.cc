// SPDX-License-Identifier: Apache-2.0
// What the durable tier took out by itself leaves the catalog too.
#include "engine/mover.h"

namespace cairn::detail {

void Mover::lost_cold(BlockId id, Location location) {
  // First the mark: the version is buried, and a put that finds the block in hot alone must not
  // write it again under the same number.
  core_.keys.set_left_cold(id);
  core_.catalog.drop_cold(id, location);
}

}  // namespace cairn::detail
