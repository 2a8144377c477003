// SPDX-License-Identifier: Apache-2.0
// faulty_warm.h — a warm tier whose next operations fail, or wait.
//
// Threading: confined to the test.
#pragma once

#include <functional>
#include <utility>
#include <vector>

#include "engine/base/status.h"
#include "engine/tier.h"

namespace cairn::test {

class FaultyWarm final : public ImageTier {
 public:
  explicit FaultyWarm(ImageTier& under) : under_(under) {}

  /// The next elements fail with `corruption`, as if their memory had changed.
  void spoil_reads(std::size_t count) { reads_ = count; }
  void spoil_images(std::size_t count) { images_ = count; }
  void fail_writes(std::size_t count) { writes_ = count; }
  /// Writes begin when they are let go.
  void hold_writes() { holds_ = true; }
  void let_writes_go() {
    holds_ = false;
    for (std::function<void()>& write : std::exchange(held_, {})) write();
  }
  std::size_t held() const { return held_.size(); }

  absl::Status reserve(NamespaceId ns, std::span<const std::uint32_t> sizes,
                       std::span<Location> locations) override {
    return under_.reserve(ns, sizes, locations);
  }
  void write(std::span<TierWrite> batch, Durability durability, Done done) override {
    if (holds_) {
      auto later = std::make_shared<Done>(std::move(done));
      held_.push_back([this, batch, durability, later] {
        under_.write(batch, durability, [later] { (*later)(); });
      });
      return;
    }
    under_.write(batch, durability, [this, batch, done = std::move(done)]() mutable {
      for (TierWrite& write : batch) {
        if (!write.status.ok() || writes_ == 0) continue;
        --writes_;
        under_.free({&write.location, 1});
        write.location = {};
        write.status = make_error(ErrorCode::io, "spoilt");
      }
      done();
    });
  }
  void read(std::span<TierRead> batch, Done done) override {
    under_.read(batch, [this, batch, done = std::move(done)]() mutable {
      for (TierRead& read : batch) {
        if (reads_ == 0) break;
        --reads_;
        read.status = make_error(ErrorCode::corruption, "spoilt");
      }
      done();
    });
  }
  void free(std::span<const Location> locations) override { under_.free(locations); }
  TierUsage usage() const override { return under_.usage(); }
  void close() override { under_.close(); }
  absl::StatusOr<StoredImagePtr> image(Location location) override {
    if (images_ == 0) return under_.image(location);
    --images_;
    return make_error(ErrorCode::corruption, "spoilt");
  }
  void set_capacity(std::uint64_t bytes) override { under_.set_capacity(bytes); }

 private:
  ImageTier& under_;
  std::size_t reads_ = 0, images_ = 0, writes_ = 0;
  bool holds_ = false;
  std::vector<std::function<void()>> held_;
};

}  // namespace cairn::test
