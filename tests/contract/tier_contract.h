// SPDX-License-Identifier: Apache-2.0
// tier_contract.h — one body of tests for everything that calls itself a Tier.
//
// A medium is put through it by a factory that makes it fresh; what only durable tiers promise
// is asked of those alone. The memory twin goes through the same body, so that tests which use
// it in place of the cold tier test what would happen there.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/hash128.h"
#include "engine/base/status.h"
#include "engine/base/text.h"
#include "engine/tier.h"
#include "tests/support/payload.h"

namespace cairn::test {

/// A tier and what keeps it alive.
class TierUnderTest {
 public:
  virtual ~TierUnderTest() = default;
  virtual Tier& tier() = 0;
  virtual DurableTier* durable() { return nullptr; }
  virtual ImageTier* images() { return nullptr; }
  /// Ends the process and begins the next one on the same medium; durable tiers only.
  virtual void restart() {}
  virtual NamespaceId namespace_id(NamespaceKind kind) = 0;
  /// Damages what is stored of the payload's byte at `offset`. False where the tier keeps no sums
  /// of its own.
  virtual bool damage(const BlockName& name, std::uint64_t sequence, Location location,
                      std::size_t offset) {
    static_cast<void>(name), static_cast<void>(sequence);
    static_cast<void>(location), static_cast<void>(offset);
    return false;
  }
  /// Runs the tier's loops until it comes true.
  virtual void pump_until(const std::function<bool()>& ready) = 0;
};

struct TierFactory {
  std::string name;
  std::function<std::unique_ptr<TierUnderTest>()> make;
  friend void PrintTo(const TierFactory& factory, std::ostream* out) { *out << factory.name; }
};

class TierContract : public ::testing::TestWithParam<TierFactory> {
 protected:
  struct Stored {
    std::string key;
    std::uint64_t sequence = 0;
    Location location;
    std::string payload;
    absl::Status status;
  };

  void SetUp() override {
    medium_ = GetParam().make();
    ns_ = medium_->namespace_id(NamespaceKind::content_addressed);
  }
  Tier& tier() { return medium_->tier(); }
  DurableTier& durable() { return *medium_->durable(); }
  bool is_durable() { return medium_->durable() != nullptr; }
  std::uint64_t next_sequence() { return is_durable() ? durable().next_sequence() : ++sequence_; }

  Stored put(std::string_view key, std::size_t bytes, NamespaceId ns, std::uint64_t sequence = 0,
             Durability durability = Durability::written) {
    Stored out{.key = std::string(key)};
    out.sequence = sequence != 0 ? sequence : next_sequence();
    out.payload = make_payload(key, out.sequence, bytes);
    const auto size = static_cast<std::uint32_t>(bytes);
    TierWrite write;
    out.status = tier().reserve(ns, {&size, 1}, {&write.location, 1});
    if (!out.status.ok()) return out;
    write.name = {ns, out.key, 0};
    write.id = block_id(write.name, 17);
    write.facts = {
        .sequence = out.sequence, .plain_bytes = size, .plain_sum = xxh3_64(as_bytes(out.payload))};
    write.payload = as_bytes(out.payload);
    std::atomic<bool> done{false};
    tier().write({&write, 1}, is_durable() ? durability : Durability::memory, [&] { done = true; });
    medium_->pump_until([&] { return done.load(); });
    out.status = write.status;
    out.location = write.location;
    return out;
  }
  Stored put(std::string_view key, std::size_t bytes) { return put(key, bytes, ns_); }

  absl::Status read(const Stored& stored, NamespaceId ns, std::string* bytes = nullptr) {
    std::string into(stored.payload.size(), '\0');
    TierRead read;
    read.location = stored.location;
    read.name = {ns, stored.key, 0};
    read.sequence = stored.sequence;
    read.destination = {reinterpret_cast<std::byte*>(into.data()), into.size()};
    read.plain_sum = xxh3_64(as_bytes(stored.payload));
    std::atomic<bool> done{false};
    tier().read({&read, 1}, [&] { done = true; });
    medium_->pump_until([&] { return done.load(); });
    if (read.status.ok()) {
      EXPECT_EQ(into, stored.payload) << stored.key;
    }
    if (bytes != nullptr) *bytes = into;
    return read.status;
  }
  absl::Status read(const Stored& stored) { return read(stored, ns_); }
  /// OK only with the right bytes.
  absl::Status read_part(const Stored& stored, std::uint32_t offset, std::size_t bytes) {
    std::string into(bytes + 2, '~');
    TierRead read;
    read.location = stored.location;
    read.name = {ns_, stored.key, 0};
    read.sequence = stored.sequence;
    read.destination = {reinterpret_cast<std::byte*>(into.data()) + 1, bytes};
    read.offset = offset;
    read.plain_bytes = static_cast<std::uint32_t>(stored.payload.size());
    read.plain_sum = xxh3_64(as_bytes(stored.payload));
    std::atomic<bool> done{false};
    tier().read({&read, 1}, [&] { done = true; });
    medium_->pump_until([&] { return done.load(); });
    if (read.status.ok()) {
      EXPECT_EQ(into.substr(1, bytes), stored.payload.substr(offset, bytes))
          << stored.key << ": " << offset << " + " << bytes;
    }
    EXPECT_TRUE(into.front() == '~' && into.back() == '~') << "wrote beside its destination";
    return read.status;
  }

  std::optional<BlockFacts> lookup(std::string_view key, NamespaceId ns) {
    StoredLookup wanted;
    wanted.name = {ns, key, 0};
    std::atomic<bool> done{false};
    durable().lookup({&wanted, 1}, [&] { done = true; });
    medium_->pump_until([&] { return done.load(); });
    EXPECT_TRUE(wanted.status.ok());
    return wanted.found ? std::optional(wanted.found->facts) : std::nullopt;
  }
  absl::Status remove(std::string_view key, NamespaceId ns, std::uint64_t sequence,
                      RemovalReason reason, Durability durability = Durability::written) {
    Removal removal{.name = {ns, key, 0}, .sequence = sequence, .reason = reason, .status = {}};
    std::atomic<bool> done{false};
    durable().remove({&removal, 1}, durability, [&] { done = true; });
    medium_->pump_until([&] { return done.load(); });
    return removal.status;
  }

  std::unique_ptr<TierUnderTest> medium_;
  NamespaceId ns_{};
  std::uint64_t sequence_ = 0;
};

/// What only tiers that keep names and outlive the process promise.
class DurableTierContract : public TierContract {};

/// What only tiers that lend blocks as they are stored promise.
class ImageTierContract : public TierContract {
 protected:
  ImageTier& images() { return *medium_->images(); }

  /// `from` once more, under another location and version, by its image.
  Stored keep(const Stored& from, StoredImagePtr image) {
    Stored out = from;
    ++out.sequence;
    const auto size = static_cast<std::uint32_t>(from.payload.size());
    TierWrite write;
    out.status = tier().reserve(ns_, {&size, 1}, {&write.location, 1});
    if (!out.status.ok()) return out;
    write.name = {ns_, out.key, 0};
    write.id = block_id(write.name, 17);
    write.facts = {
        .sequence = out.sequence, .plain_bytes = size, .plain_sum = xxh3_64(as_bytes(out.payload))};
    write.image = std::move(image);
    std::atomic<bool> done{false};
    tier().write({&write, 1}, Durability::memory, [&] { done = true; });
    medium_->pump_until([&] { return done.load(); });
    out.status = write.status;
    out.location = write.location;
    return out;
  }
};

}  // namespace cairn::test
