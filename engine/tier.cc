// SPDX-License-Identifier: Apache-2.0
#include "engine/tier.h"

#include "engine/base/check.h"

namespace cairn {

std::string_view removal_reason_name(RemovalReason reason) {
  switch (reason) {
    case RemovalReason::erased:
      return "erased";
    case RemovalReason::evicted:
      return "evicted";
    case RemovalReason::expired:
      return "expired";
    case RemovalReason::overwritten:
      return "overwritten";
    case RemovalReason::corrupt:
      return "corrupt";
  }
  CAIRN_UNREACHABLE();
}

}  // namespace cairn
