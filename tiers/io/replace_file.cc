// SPDX-License-Identifier: Apache-2.0
#include "engine/base/status.h"
#include "engine/base/text.h"
#include "tiers/io/device.h"

namespace cairn::tiers {

absl::Status replace_file(Device& device, const std::string& path, ByteSpan content) {
  const std::string beside = path + ".new";
  const std::size_t slash = path.rfind('/');
  std::string directory = slash == std::string::npos ? "." : path.substr(0, slash);
  if (slash == 0) directory = "/";
  absl::Status status = device.write_small(beside, content);
  if (status.ok()) status = device.sync_file(beside);
  if (status.ok()) status = device.rename_file(beside, path);
  if (!status.ok()) {
    // The old file is untouched; a leftover beside it is overwritten by the next attempt.
    device.remove_file(beside).IgnoreError();
    return with_context(status, concat("replace ", path));
  }
  return with_context(device.sync_directory(directory), concat("replace ", path));
}

}  // namespace cairn::tiers
