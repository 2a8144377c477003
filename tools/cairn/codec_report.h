// SPDX-License-Identifier: Apache-2.0
// codec_report.h — what the codec does to new blocks, for machines and for people.
//
// Threading: pure functions. Blocking: never.
#pragma once

#include <string>

#include "engine/tier.h"
#include "tools/cairn/output.h"

namespace cairn::tools {

Json codec_object(const CodecReport& report);
/// "codec auto: the disk gives 1.2 GiB/s, decoding 3.1 GiB/s"
std::string codec_remark(const CodecReport& report);

}  // namespace cairn::tools
