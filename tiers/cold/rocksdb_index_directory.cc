// SPDX-License-Identifier: Apache-2.0
// The directory of an index that is closed, as a whole: what repair moves out of the way and into
// place, or has in memory instead.
#include <rocksdb/env.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "engine/base/status.h"
#include "engine/base/text.h"
#include "tiers/cold/rocksdb_index.h"
#include "tiers/cold/rocksdb_index_open.h"

namespace cairn::tiers {

absl::Status move_index(const IndexOptions& options, const std::string& to) {
  const std::shared_ptr<rocksdb::FileSystem> files = index_base_files(options);
  return from_rocksdb(files->RenameFile(options.directory, to, rocksdb::IOOptions(), nullptr),
                      concat("move ", options.directory, " to ", to));
}

absl::StatusOr<bool> set_index_aside(const IndexOptions& options, const std::string& to) {
  const std::shared_ptr<rocksdb::FileSystem> files = index_base_files(options);
  const rocksdb::IOOptions io;
  std::vector<std::string> names;
  const rocksdb::IOStatus listed = files->GetChildren(options.directory, io, &names, nullptr);
  if (listed.IsNotFound() || listed.IsPathNotFound()) return false;
  if (!listed.ok()) return from_rocksdb(listed, concat("list ", options.directory));
  const bool any = std::any_of(names.begin(), names.end(),
                               [](const std::string& name) { return name != "." && name != ".."; });
  if (any) {
    CAIRN_RETURN_IF_ERROR(move_index(options, to));
    return true;
  }
  CAIRN_RETURN_IF_ERROR(from_rocksdb(files->DeleteDir(options.directory, io, nullptr),
                                     concat("remove ", options.directory)));
  return false;
}

absl::StatusOr<std::unique_ptr<Index>> open_memory_index(const StoreUuid& store) {
  const std::unique_ptr<rocksdb::Env> env(rocksdb::NewMemEnv(rocksdb::Env::Default()));
  IndexOptions options;
  options.directory = "/index";
  options.store = store;
  options.create = true;
  options.file_system = env->GetFileSystem();
  return open_rocksdb_index(options);
}

}  // namespace cairn::tiers
