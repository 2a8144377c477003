// SPDX-License-Identifier: Apache-2.0
// format_store.h — the store that is kept as the fixture of format version 1.
//
// write_store() made it once and is kept to say what is in it; check_store() holds for ever:
// every later build reads the fixture and finds exactly this.
//
// Threading: confined. Blocking: disk.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "engine/base/event_loop.h"
#include "engine/tier.h"
#include "tiers/cold/cold_tier.h"
#include "tiers/io/device.h"

namespace cairn::test {

/// A store on the real file system, its loops run by whoever waits.
class OpenedStoreDirectory {
 public:
  static absl::StatusOr<std::unique_ptr<OpenedStoreDirectory>> open(const std::string& directory,
                                                                    tiers::StoreMode mode);
  ~OpenedStoreDirectory();

  DurableTier& tier() { return *tier_; }
  void pump();

 private:
  OpenedStoreDirectory() = default;
  std::unique_ptr<tiers::Device> device_;
  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<DurableTier> tier_;
};

void write_store(OpenedStoreDirectory& store);
/// `rebuilt`: the index was made again, so evicted blocks may be there too.
void check_store(OpenedStoreDirectory& store, bool rebuilt);

/// All files below a directory in one, without the pages that are zero: a store is mostly those.
std::string pack_directory(const std::string& directory);
void unpack_directory(const std::string& pack, const std::string& directory);

}  // namespace cairn::test
