// SPDX-License-Identifier: Apache-2.0
#include "engine/token_ids.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "engine/base/hash128.h"
#include "engine/base/status.h"

namespace cairn {
namespace {

/// The ids, and the sum of the bytes that they are of.
std::string encode(std::span<const std::uint32_t> token_ids, ByteSpan payload) {
  std::string bytes;
  bytes.reserve(token_ids.size() * sizeof(std::uint32_t) + sizeof(std::uint64_t));
  for (const std::uint32_t id : token_ids) append_le(bytes, id);
  append_le(bytes, xxh3_64(payload));
  return bytes;
}

bool holds(ByteSpan stored, std::span<const std::uint32_t> token_ids, std::uint64_t plain_sum) {
  const std::size_t ids_bytes = token_ids.size() * sizeof(std::uint32_t);
  if (stored.size() != ids_bytes + sizeof(std::uint64_t)) return false;
  for (std::size_t i = 0; i < token_ids.size(); ++i) {
    if (load_le<std::uint32_t>(stored, i * sizeof(std::uint32_t)) != token_ids[i]) return false;
  }
  return load_le<std::uint64_t>(stored, ids_bytes) == plain_sum;
}

/// Twice the batch: each block, and its ids behind it.
struct Doubled {
  explicit Doubled(std::span<const TokenBlock> given) {
    ids.reserve(given.size());  // spans of them are taken: they stay where they are
    blocks.reserve(2 * given.size());
    for (const TokenBlock& one : given) {
      ids.push_back(encode(one.token_ids, one.block.payload));
      blocks.push_back(one.block);
      PutBlock beside = one.block;
      beside.part = kTokenIdsPart;
      beside.token_prefix = {};  // an index is to know the block alone
      beside.payload = as_bytes(ids.back());
      blocks.push_back(beside);
    }
  }
  std::vector<std::string> ids;
  std::vector<PutBlock> blocks;
};

std::vector<PutResult> combine(std::vector<PutResult> results) {
  std::vector<PutResult> combined;
  combined.reserve(results.size() / 2);
  for (std::size_t i = 0; i + 1 < results.size(); i += 2) {
    const bool beside_failed = results[i + 1].outcome == PutOutcome::failed;
    const bool failed = results[i].outcome == PutOutcome::failed;
    // Neither is any good without the other.
    const Durability both = std::min(results[i].durability, results[i + 1].durability);
    combined.push_back(std::move(results[!failed && beside_failed ? i + 1 : i]));
    combined.back().durability = both;
  }
  return combined;
}

template <typename Named>
bool are_paired(std::span<const Named> named) {
  if (named.size() % 2 != 0) return false;
  for (std::size_t i = 0; i < named.size(); i += 2) {
    const bool paired = named[i].part != kTokenIdsPart && named[i + 1].part == kTokenIdsPart &&
                        named[i].key == named[i + 1].key;
    if (!paired) return false;
  }
  return true;
}

absl::Status check_parts(std::span<const KeyRef> keys) {
  const bool sound = std::none_of(keys.begin(), keys.end(),
                                  [](const KeyRef& key) { return key.part == kTokenIdsPart; });
  return sound ? absl::OkStatus()
               : make_error(ErrorCode::invalid_argument, "part 65535 is where token ids lie");
}

std::vector<KeyRef> keys_of(std::span<const TokenBlock> blocks) {
  std::vector<KeyRef> keys;
  keys.reserve(blocks.size());
  for (const TokenBlock& one : blocks) keys.push_back({one.block.key, one.block.part});
  return keys;
}

std::vector<KeyRef> keys_of(std::span<const TokenKey> asked) {
  std::vector<KeyRef> keys;
  keys.reserve(asked.size());
  for (const TokenKey& one : asked) keys.push_back(one.key);
  return keys;
}

absl::Status check_put(const Engine& engine, NamespaceId ns, std::span<const TokenBlock> blocks) {
  CAIRN_RETURN_IF_ERROR(check_parts(keys_of(blocks)));
  for (const NamespaceInfo& info : engine.namespaces()) {
    if (info.id == ns && info.descriptor.kind == NamespaceKind::mutable_) {
      return make_error(ErrorCode::invalid_argument,
                        "token ids are kept in content-addressed namespaces alone");
    }
  }
  return absl::OkStatus();
}

VerifiedLease verify(Lease lease, const std::vector<std::vector<std::uint32_t>>& asked, Read read) {
  VerifiedLease verified;
  const std::span<const LeasedBlock> leased = lease.blocks();
  for (std::size_t i = 0; i < asked.size(); ++i) {
    const bool both = 2 * i + 1 < leased.size() && leased[2 * i].found && leased[2 * i + 1].found;
    const bool right = both && holds(leased[2 * i + 1].bytes, asked[i], leased[2 * i].plain_sum);
    if (both && !right) ++verified.mismatches;
    if (!right && read == Read::prefix) break;
    verified.blocks.push_back(right ? leased[2 * i] : LeasedBlock{});
  }
  verified.lease = std::move(lease);
  return verified;
}

std::vector<std::vector<std::uint32_t>> copy_ids(std::span<const TokenKey> keys) {
  std::vector<std::vector<std::uint32_t>> copies;
  copies.reserve(keys.size());
  for (const TokenKey& one : keys) copies.emplace_back(one.token_ids.begin(), one.token_ids.end());
  return copies;
}

std::vector<PutResult> all_failed(std::size_t count, const absl::Status& status) {
  return std::vector<PutResult>(count, PutResult{.status = status});
}

}  // namespace

bool have_token_ids(std::span<const KeyRef> keys) {
  return are_paired(keys);
}
bool have_token_ids(std::span<const PutBlock> blocks) {
  return are_paired(blocks);
}

std::vector<KeyRef> with_token_ids(std::span<const KeyRef> keys) {
  std::vector<KeyRef> both;
  both.reserve(2 * keys.size());
  for (const KeyRef& key : keys) {
    both.push_back(key);
    both.push_back({key.key, kTokenIdsPart});
  }
  return both;
}

void put_with_token_ids(Engine& engine, NamespaceId ns, std::span<const TokenBlock> blocks,
                        const PutOptions& options,
                        std::function<void(std::vector<PutResult>)> done) {
  if (const absl::Status status = check_put(engine, ns, blocks); !status.ok()) {
    done(all_failed(blocks.size(), status));
    return;
  }
  const auto doubled = std::make_shared<Doubled>(blocks);
  engine.put(ns, doubled->blocks, options,
             [doubled, done = std::move(done)](std::vector<PutResult> results) {
               done(combine(std::move(results)));
             });
}

std::vector<PutResult> put_with_token_ids_sync(Engine& engine, NamespaceId ns,
                                               std::span<const TokenBlock> blocks,
                                               const PutOptions& options) {
  if (const absl::Status status = check_put(engine, ns, blocks); !status.ok()) {
    return all_failed(blocks.size(), status);
  }
  const Doubled doubled(blocks);
  return combine(engine.put_sync(ns, doubled.blocks, options));
}

void acquire_with_token_ids(Engine& engine, NamespaceId ns, std::span<const TokenKey> keys,
                            const AcquireOptions& options,
                            std::function<void(absl::StatusOr<VerifiedLease>)> done) {
  const std::vector<KeyRef> plain = keys_of(keys);
  if (absl::Status status = check_parts(plain); !status.ok()) {
    done(std::move(status));
    return;
  }
  engine.acquire(ns, with_token_ids(plain), options,
                 [asked = copy_ids(keys), read = options.read,
                  done = std::move(done)](absl::StatusOr<Lease> lease) {
                   if (!lease.ok()) {
                     done(lease.status());
                   } else {
                     done(verify(*std::move(lease), asked, read));
                   }
                 });
}

absl::StatusOr<VerifiedLease> acquire_with_token_ids_sync(Engine& engine, NamespaceId ns,
                                                          std::span<const TokenKey> keys,
                                                          const AcquireOptions& options) {
  const std::vector<KeyRef> plain = keys_of(keys);
  CAIRN_RETURN_IF_ERROR(check_parts(plain));
  CAIRN_ASSIGN_OR_RETURN(Lease lease, engine.acquire_sync(ns, with_token_ids(plain), options));
  return verify(std::move(lease), copy_ids(keys), options.read);
}

}  // namespace cairn
