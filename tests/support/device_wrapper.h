// SPDX-License-Identifier: Apache-2.0
// device_wrapper.h — a Device that passes everything on, for those that change a little of it.
//
// Threading, Blocking, Failure, Lifetime: as the device below, which it owns.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tiers/io/device.h"

namespace cairn::test {

class DeviceWrapper : public tiers::Device {
 public:
  explicit DeviceWrapper(std::unique_ptr<tiers::Device> device) : device_(std::move(device)) {}
  tiers::Device& target() { return *device_; }

  absl::StatusOr<tiers::FileId> open_file(const std::string& path, tiers::OpenMode mode) override {
    return device_->open_file(path, mode);
  }
  void close_file(tiers::FileId file) override { device_->close_file(file); }
  absl::Status allocate(tiers::FileId file, std::uint64_t bytes) override {
    return device_->allocate(file, bytes);
  }
  absl::Status remove_file(const std::string& path) override { return device_->remove_file(path); }
  absl::Status rename_file(const std::string& from, const std::string& to) override {
    return device_->rename_file(from, to);
  }
  absl::Status make_directory(const std::string& path) override {
    return device_->make_directory(path);
  }
  absl::Status sync_directory(const std::string& path) override {
    return device_->sync_directory(path);
  }
  absl::StatusOr<std::vector<tiers::DirectoryEntry>> list(const std::string& path) override {
    return device_->list(path);
  }
  absl::StatusOr<tiers::FileInfo> info(const std::string& path) override {
    return device_->info(path);
  }
  absl::StatusOr<std::uint64_t> free_bytes(const std::string& path) override {
    return device_->free_bytes(path);
  }
  absl::StatusOr<std::string> read_small(const std::string& path) override {
    return device_->read_small(path);
  }
  absl::Status write_small(const std::string& path, ByteSpan content) override {
    return device_->write_small(path, content);
  }
  absl::Status sync_file(const std::string& path) override { return device_->sync_file(path); }
  absl::StatusOr<std::unique_ptr<tiers::FileLock>> lock_file(const std::string& path,
                                                             std::string_view owner) override {
    return device_->lock_file(path, owner);
  }
  bool submit(tiers::IoOp& op) override { return device_->submit(op); }
  std::size_t poll(Duration max_wait) override { return device_->poll(max_wait); }
  void wake() override { device_->wake(); }
  tiers::DeviceInfo device_info() const override { return device_->device_info(); }
  tiers::DeviceCounters device_counters() const override { return device_->device_counters(); }

 private:
  const std::unique_ptr<tiers::Device> device_;
};

}  // namespace cairn::test
