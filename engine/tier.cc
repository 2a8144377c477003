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

std::string_view codec_use_name(CodecUse use) {
  switch (use) {
    case CodecUse::off:
      return "off";
    case CodecUse::on:
      return "on";
    case CodecUse::automatic:
      return "auto";
  }
  CAIRN_UNREACHABLE();
}

}  // namespace cairn
