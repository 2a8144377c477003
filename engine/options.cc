// SPDX-License-Identifier: Apache-2.0
#include "engine/options.h"

#include "engine/base/status.h"
#include "engine/base/text.h"

namespace cairn {
namespace {

absl::Status check_fraction(std::string_view name, double value) {
  if (value > 0.0 && value <= 1.0) return absl::OkStatus();  // NaN fails both
  return make_error(ErrorCode::invalid_argument,
                    concat(name, " is ", value, "; it must be above 0 and at most 1"));
}

absl::Status check_positive(std::string_view name, std::uint64_t value) {
  if (value > 0) return absl::OkStatus();
  return make_error(ErrorCode::invalid_argument, concat(name, " must not be 0"));
}

absl::Status check_duration(std::string_view name, Duration value) {
  if (value > Duration{}) return absl::OkStatus();
  return make_error(ErrorCode::invalid_argument, concat(name, " must be above 0"));
}

}  // namespace

absl::Status validate(const EngineOptions& options) {
  CAIRN_RETURN_IF_ERROR(check_positive("hot_bytes", options.hot_bytes));
  CAIRN_RETURN_IF_ERROR(check_positive("metadata_bytes", options.metadata_bytes));
  CAIRN_RETURN_IF_ERROR(check_positive("put_bytes_in_flight_max", options.put_bytes_in_flight_max));
  CAIRN_RETURN_IF_ERROR(
      check_positive("load_bytes_in_flight_max", options.load_bytes_in_flight_max));
  CAIRN_RETURN_IF_ERROR(check_positive("load_queue_max", options.load_queue_max));
  CAIRN_RETURN_IF_ERROR(check_fraction("token_index_fraction", options.token_index_fraction));
  CAIRN_RETURN_IF_ERROR(check_fraction("leasable_fraction", options.leasable_fraction));
  CAIRN_RETURN_IF_ERROR(check_fraction("announceable_fraction", options.announceable_fraction));
  CAIRN_RETURN_IF_ERROR(check_fraction("high_watermark", options.high_watermark));
  CAIRN_RETURN_IF_ERROR(check_fraction("low_watermark", options.low_watermark));
  if (options.low_watermark > options.high_watermark) {
    return make_error(ErrorCode::invalid_argument, "low_watermark is above high_watermark");
  }
  CAIRN_RETURN_IF_ERROR(check_fraction("cold_high_watermark", options.cold_high_watermark));
  CAIRN_RETURN_IF_ERROR(check_fraction("cold_low_watermark", options.cold_low_watermark));
  if (options.cold_low_watermark > options.cold_high_watermark) {
    return make_error(ErrorCode::invalid_argument,
                      "cold_low_watermark is above cold_high_watermark");
  }
  CAIRN_RETURN_IF_ERROR(check_duration("lease_hold_limit", options.lease_hold_limit));
  CAIRN_RETURN_IF_ERROR(check_duration("announce_limit", options.announce_limit));
  CAIRN_RETURN_IF_ERROR(check_duration("hot_list_interval", options.hot_list_interval));
  if (options.rewarm_bytes > 0) {
    CAIRN_RETURN_IF_ERROR(
        check_positive("rewarm_bytes_per_second", options.rewarm_bytes_per_second));
  }
  return absl::OkStatus();
}

}  // namespace cairn
