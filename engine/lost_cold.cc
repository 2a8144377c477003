// SPDX-License-Identifier: Apache-2.0
// What the durable tier took out by itself leaves the catalog too.
#include "engine/mover.h"

namespace cairn::detail {

void Mover::lost_cold(BlockId id, Location location) {
  core_.catalog.drop_cold(id, location);
}

}  // namespace cairn::detail
