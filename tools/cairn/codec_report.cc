// SPDX-License-Identifier: Apache-2.0
#include "tools/cairn/codec_report.h"

#include "engine/base/text.h"
#include "tools/cairn/values.h"

namespace cairn::tools {

Json codec_object(const CodecReport& report) {
  return {{"use", std::string(codec_use_name(report.use))},
          {"held_off", report.is_held_off},
          {"disk_bytes_per_s", report.disk_bytes_per_second},
          {"decode_bytes_per_s", report.decode_bytes_per_second},
          {"plain_bytes", report.plain_bytes},
          {"stored_bytes", report.stored_bytes}};
}

std::string codec_remark(const CodecReport& report) {
  std::string text = concat("codec ", codec_use_name(report.use));
  if (report.disk_bytes_per_second == 0 || report.decode_bytes_per_second == 0) return text;
  text += concat(": the disk gives ", format_rate(report.disk_bytes_per_second), ", decoding ",
                 format_rate(report.decode_bytes_per_second));
  if (report.is_held_off) text += "; new blocks are stored as they are";
  return text;
}

}  // namespace cairn::tools
