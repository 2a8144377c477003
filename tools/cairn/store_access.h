// SPDX-License-Identifier: Apache-2.0
// store_access.h — how the commands come to a store: for reading, for writing, or making one.
//
// A command that only reads opens the store so that no byte of it can change. Only `put` and
// `replay` make a store; every other command finds one or ends with `not_found`, and nothing
// was created.
//
// Threading: anywhere. Blocking: disk.
// Failure:   `not_found`, `locked` (names the holder), `format`, `corruption`, each with a hint.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "tiers/open.h"
#include "tools/cairn/arguments.h"

namespace cairn::tools {

constexpr std::string_view kDefaultNamespace = "default";

/// --dir, which every command on a store takes.
void add_directory_option(Command& command, std::string& directory);
/// --namespace.
void add_namespace_option(Command& command, std::string& name);

absl::StatusOr<std::unique_ptr<Store>> open_for_reading(const std::string& directory);
absl::StatusOr<std::unique_ptr<Store>> open_for_writing(const std::string& directory);
/// Makes a store in a missing or empty directory; `cold_bytes` is its limit, and where it is
/// not given, half of the free disk and at most 64 GiB. An existing store keeps its own limit
/// unless one is given.
absl::StatusOr<std::unique_ptr<Store>> open_or_create(const std::string& directory,
                                                      std::optional<std::uint64_t> cold_bytes);
/// Says what to do about an error of open_store.
absl::Status explain_open_error(absl::Status status, const std::string& directory);
/// OK when there is a store; else the same `not_found` that opening gives. Nothing is opened.
absl::Status check_store_exists(const std::string& directory);
/// OK where a store is, or could be made without making more than one directory.
absl::Status check_place_for_store(const std::string& directory);
/// The limit that a store there was made with; none where there is no store, or none to be read.
std::optional<std::uint64_t> cold_bytes_of_store(const std::string& directory);
/// What the catalog needs to list every block that an index of so many bytes can name; at least
/// what an engine has by default, and at most half of the machine's memory.
std::uint64_t metadata_bytes_for(std::uint64_t index_bytes, std::uint64_t memory_bytes);
/// Bytes free for the directory or the nearest of its parents that exists.
absl::StatusOr<std::uint64_t> free_disk_bytes(const std::string& directory);
/// The limit of a new store that is given none; `no_space` where the disk has not even that.
absl::StatusOr<std::uint64_t> default_cold_bytes(const std::string& directory,
                                                 std::uint64_t free_bytes);
/// `too_large` where a store would be made, with this limit or the default one, whose segments
/// are too small for such a block: better said before it is made.
absl::Status check_block_fits(const std::string& directory, std::optional<std::uint64_t> cold_bytes,
                              std::uint64_t block_bytes);
/// "a new store with --cold 768MiB or more": whose segments are large enough for such a block.
std::string roomy_store(std::uint64_t block_bytes);

/// The namespace as the store has it; empty where it has none of that name.
std::optional<NamespaceInfo> find_namespace(Store& store, std::string_view name);
/// The same; `not_found` names those that are there.
absl::StatusOr<NamespaceInfo> get_namespace(Store& store, std::string_view name);
/// The durable entry of a name, from the index. Blocks: disk. Its name borrows from `name`.
absl::StatusOr<std::optional<StoredBlock>> look_up(Store& store, const BlockName& name);
/// What put makes of a name that the store does not have.
NamespaceDescriptor new_namespace(std::string_view name, bool is_mutable);

/// The catalog has everything, or an error after half a minute.
absl::Status wait_until_recovered(Store& store);
/// Closes and tells what went wrong.
absl::Status close_store(std::unique_ptr<Store> store);

}  // namespace cairn::tools
