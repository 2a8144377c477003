// SPDX-License-Identifier: Apache-2.0
// token_ids.h — blocks that keep the token ids they were computed from, compared at delivery.
//
// A key says which tokens a block is of, as far as its hash does not collide. Where that is not
// enough, because keys are 64 bits of a fast hash or come from whom one does not trust, the ids
// themselves are stored beside the block, as a part of their own of its key, and a block whose ids
// are others, or are gone, is a miss. Costs 4 bytes a token, one more entry a key, and a compare;
// where ids and blocks are put in one batch they lie side by side.
//
// A block and its ids are two entries, of which one may fail or be evicted without the other, and
// then stand beside the other half of a later put. So the ids name the bytes that they are of, by
// their XXH3-64: a half that has lost its own matches nothing. That keeps collisions apart, not
// somebody who may write to the namespace and makes bytes with the same sum.
//
// A namespace opened with NamespaceOptions::verify_tokens takes and gives blocks in no other way.
//
// For content-addressed namespaces: in a mutable one a block and its ids would be two versions.
//
// Threading, blocking, failure: as Engine::put and Engine::acquire, which do the work.
// Lifetime:   keys, payloads and ids of a put are borrowed until done; of an acquire until it
//             returns.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/engine.h"

namespace cairn {

/// Where the ids of a key lie: no shard of a block may use it.
constexpr Part kTokenIdsPart = 0xffff;

struct TokenBlock {
  PutBlock block;
  std::span<const std::uint32_t> token_ids;
};

struct TokenKey {
  KeyRef key;
  std::span<const std::uint32_t> token_ids;
};

/// Blocks of a lease whose token ids are those that were asked with. The lease also holds the ids.
struct VerifiedLease {
  Lease lease;
  std::vector<LeasedBlock> blocks;  // Read::prefix: the run; Read::each: one for each key
  std::size_t mismatches = 0;       // keys under which blocks of other tokens are stored
};

/// Each key, and behind it where its ids lie: for erase, pin, touch and announce, which know
/// nothing of them.
std::vector<KeyRef> with_token_ids(std::span<const KeyRef> keys);

/// Whether each block has its ids behind it, as put_with_token_ids and acquire_with_token_ids ask
/// for them: what NamespaceOptions::verify_tokens insists on.
bool have_token_ids(std::span<const KeyRef> keys);
bool have_token_ids(std::span<const PutBlock> blocks);

/// A block is put, or already present, only together with its ids: the worse result of the two is
/// given. A key that is there with ids of another length is `mismatch`; of others as long, or of
/// other bytes, it is already present, and a miss for who asks with these.
void put_with_token_ids(Engine& engine, NamespaceId ns, std::span<const TokenBlock> blocks,
                        const PutOptions& options,
                        std::function<void(std::vector<PutResult>)> done);
std::vector<PutResult> put_with_token_ids_sync(Engine& engine, NamespaceId ns,
                                               std::span<const TokenBlock> blocks,
                                               const PutOptions& options = {});

void acquire_with_token_ids(Engine& engine, NamespaceId ns, std::span<const TokenKey> keys,
                            const AcquireOptions& options,
                            std::function<void(absl::StatusOr<VerifiedLease>)> done);
absl::StatusOr<VerifiedLease> acquire_with_token_ids_sync(Engine& engine, NamespaceId ns,
                                                          std::span<const TokenKey> keys,
                                                          const AcquireOptions& options = {});

}  // namespace cairn
