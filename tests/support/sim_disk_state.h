// SPDX-License-Identifier: Apache-2.0
// sim_disk_state.h — the parts of SimDisk that only its own sources see: its names.
//
// Threading: guarded by its disk's lock. Blocking: never.
#pragma once

#include <map>
#include <set>
#include <string>

#include "tests/support/sim_disk.h"
#include "tests/support/sim_inode.h"

namespace cairn::test {

/// One entry of the directory journal.
struct SimDisk::NameChange {
  enum class Kind : std::uint8_t {
    create,
    remove,
    rename,
    rename_directory,
    make_directory,
    remove_directory,
  };
  Kind kind = Kind::create;
  std::string from;
  std::string to;
  SimFile file;

  Mutation mutation() const;
  /// Syncing `directory` makes this durable; for a rename either of its two does.
  bool touches(const std::string& directory) const;
};

struct SimDisk::Names {
  std::map<std::string, SimFile> files;
  std::set<std::string> directories{"/"};

  /// Does what can be done: a change whose forerunner was lost must not trip over that.
  void apply(const NameChange& change);
  /// What is in no directory cannot be reached.
  void drop_unreachable();
};

}  // namespace cairn::test
