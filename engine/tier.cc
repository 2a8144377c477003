// SPDX-License-Identifier: Apache-2.0
#include "engine/tier.h"

#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/base/text.h"

namespace cairn {

absl::Status check_part(const TierRead& read) {
  if (std::uint64_t{read.offset} + read.destination.size() <= read.payload_bytes()) {
    return absl::OkStatus();
  }
  return make_error(ErrorCode::invalid_argument,
                    concat("bytes ", read.offset, " + ", read.destination.size(),
                           " of a payload of ", read.payload_bytes()));
}

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
