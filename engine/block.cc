// SPDX-License-Identifier: Apache-2.0
#include "engine/block.h"

#include "engine/base/check.h"

namespace cairn {

std::string_view durability_name(Durability durability) {
  switch (durability) {
    case Durability::memory:
      return "memory";
    case Durability::written:
      return "written";
    case Durability::durable:
      return "durable";
  }
  CAIRN_UNREACHABLE();
}

}  // namespace cairn
