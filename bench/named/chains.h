// SPDX-License-Identifier: Apache-2.0
// chains.h — chains of blocks of 2 MiB in a store of their own, put once and loaded into memory
// of the caller's, every block checked.
//
// Threading: confined. Blocking: disk.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "bench/named/disk_fixture.h"
#include "bench/named/payloads.h"
#include "tiers/open.h"

namespace cairn::bench {

constexpr std::size_t kChainBlockBytes = 2U << 20U;

/// The keys of blocks [first, first + count) of a chain, with what refers to them.
class ChainKeys {
 public:
  ChainKeys(std::uint64_t chain, std::size_t count, std::size_t first = 0);
  ChainKeys(const ChainKeys&) = delete;
  ChainKeys& operator=(const ChainKeys&) = delete;
  std::span<const KeyRef> refs() const { return refs_; }
  const std::string& operator[](std::size_t i) const { return keys_[i]; }
  std::size_t size() const { return keys_.size(); }

 private:
  std::vector<std::string> keys_;
  std::vector<KeyRef> refs_;
};

struct ChainsOptions {
  std::string directory;
  std::uint64_t chains = 1;
  std::size_t chain_blocks = 64;
  std::uint64_t hot_bytes = 32 * kMiB, warm_bytes = 0;
  CodecUse codec = CodecUse::on;
};

class Chains {
 public:
  /// Puts them, too.
  static absl::StatusOr<std::unique_ptr<Chains>> make(const ChainsOptions& options,
                                                      Payloads payloads);

  Store& store() { return *store_; }
  Engine& engine() { return store_->engine(); }
  NamespaceId ns() const { return ns_; }
  /// Leaves nothing in hot and warm; what was put as `written` is in cold alone.
  absl::Status empty_memory();
  /// Blocks [first, first + count) of any chain, eight at a time, each run at its durability.
  absl::Status put(std::uint64_t chain, std::size_t first, std::size_t count,
                   Durability durability);
  /// So many chains, one after the other in turns: GB/s of plain bytes. Each block is checked when
  /// the watch has stopped; one that is missing, wrong or from another tier than `from` is an
  /// error. TierKind::none: any will do.
  absl::StatusOr<double> load(int count, TierKind from = TierKind::none);
  /// How many blocks of a chain have their hottest copy in that tier.
  std::size_t count_in(TierKind tier, std::uint64_t chain, std::size_t blocks);

 private:
  Chains(const ChainsOptions& options, Payloads payloads);
  absl::Status open();

  const ChainsOptions options_;
  const Payloads payloads_;
  AlignedMemory target_;
  std::unique_ptr<Store> store_;
  NamespaceId ns_{};
  std::uint64_t next_ = 0;
};

/// Waits until nothing moves between tiers any more: `deadline` after ten seconds.
absl::Status wait_until_still(Engine& engine);

}  // namespace cairn::bench
