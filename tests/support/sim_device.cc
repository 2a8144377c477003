// SPDX-License-Identifier: Apache-2.0
#include "tests/support/sim_device.h"

#include <algorithm>
#include <cerrno>

namespace cairn::test {

using tiers::DeviceCounters;
using tiers::FileId;
using tiers::IoKind;
using tiers::IoOp;
using tiers::OpenMode;

SimDevice::SimDevice(std::shared_ptr<SimDisk> disk, ManualClock& clock, SimDeviceOptions options)
    : SimDevice(std::move(disk), clock, &clock, options) {}

SimDevice::SimDevice(std::shared_ptr<SimDisk> disk, const Clock& waiting_clock,
                     SimDeviceOptions options)
    : SimDevice(std::move(disk), waiting_clock, nullptr, options) {}

SimDevice::SimDevice(std::shared_ptr<SimDisk> disk, const Clock& clock, ManualClock* manual,
                     SimDeviceOptions options)
    : disk_(std::move(disk)),
      clock_(clock),
      manual_(manual),
      options_(options),
      rng_(options.seed) {}

SimDevice::~SimDevice() {
  while (!pending_.empty()) {
    std::vector<Pending> last = std::move(pending_);
    pending_.clear();
    for (Pending& pending : last) finish(pending);  // its done may submit again
  }
  MutexLock lock(mutex_);
  for (auto& [id, open] : files_) disk_->close(open.file);
}

// --- transfers -------------------------------------------------------------------------------

bool SimDevice::submit(IoOp& op) {
  poller_.check();
  if (pending_.size() >= options_.depth) return false;
  op.error = 0;
  op.transferred = 0;
  Pending pending{&op, clock_.now()};
  if (options_.delay_max.ns > 0) {
    const auto bound = static_cast<std::uint64_t>(options_.delay_max.ns);
    pending.due = pending.due + Duration::nanos(static_cast<std::int64_t>(rng_.below(bound)));
  }
  if (const OpenFile* file = find(op.file)) {
    if (fires(Fault::hang, file->path)) {
      pending.hung = true;
      ++hung_;
    }
    if (op.kind == IoKind::write) {
      std::string bytes;
      for (const iovec& part : op.buffers) {
        bytes.append(static_cast<const char*>(part.iov_base), part.iov_len);
      }
      pending.launched = disk_->launch(file->file, op.offset, as_bytes(bytes));
    }
    pending.marker = disk_->write_marker();
  }
  pending_.push_back(pending);
  MutexLock lock(mutex_);
  ++counters_.in_flight;
  return true;
}

std::size_t SimDevice::poll(Duration max_wait) {
  poller_.check();
  if (const std::size_t ran = deliver_due(); ran > 0 || max_wait <= Duration{}) return ran;
  if (!wait_or_advance(max_wait)) return 0;
  return deliver_due();
}

void SimDevice::wake() {
  MutexLock lock(mutex_);
  wake_ = true;
  woken_.notify_one();
}

/// False when woken.
bool SimDevice::wait_or_advance(Duration max_wait) {
  TimePoint until = clock_.now() + max_wait;
  for (const Pending& pending : pending_) {
    if (!pending.hung) until = std::min(until, pending.due);
  }
  MutexLock lock(mutex_);
  if (manual_ != nullptr) {
    if (!wake_) manual_->advance_to(until);
  } else {
    while (!wake_) {
      const Duration left = until - clock_.now();
      if (left <= Duration{}) break;
      woken_.wait_for(mutex_, std::chrono::nanoseconds(left.ns));
    }
  }
  return !std::exchange(wake_, false);
}

std::size_t SimDevice::deliver_due() {
  if (release_hung_.exchange(false)) {
    for (Pending& pending : pending_) pending.hung = false;
    hung_ = 0;
  }
  const TimePoint now = clock_.now();
  const auto is_due = [now](const Pending& pending) { return !pending.hung && pending.due <= now; };
  std::vector<Pending> due;
  std::copy_if(pending_.begin(), pending_.end(), std::back_inserter(due), is_due);
  std::erase_if(pending_, is_due);
  rng_.shuffle(due);
  for (Pending& pending : due) finish(pending);
  return due.size();
}

void SimDevice::finish(Pending& pending) {
  IoOp& op = *pending.op;
  if (const OpenFile* file = find(op.file); file == nullptr) {
    op.error = EBADF;
  } else {
    if (op.kind == IoKind::write) disk_->withdraw(pending.launched);
    perform(pending, *file);
  }
  {
    MutexLock lock(mutex_);
    --counters_.in_flight;
    ++(op.kind == IoKind::read    ? counters_.reads
       : op.kind == IoKind::write ? counters_.writes
                                  : counters_.syncs);
    if (op.error != 0) ++counters_.errors;
    if (op.error == 0 && op.transferred < op.requested()) ++counters_.short_transfers;
    (op.kind == IoKind::write ? counters_.bytes_written : counters_.bytes_read) += op.transferred;
  }
  op.done(op);
}

void SimDevice::perform(Pending& pending, const OpenFile& file) {
  IoOp& op = *pending.op;
  bool aligned = op.offset % tiers::kIoAlignment == 0 && op.buffers.size() <= tiers::kIoPartsMax;
  for (const iovec& part : op.buffers) {
    aligned = aligned && part.iov_len % tiers::kIoAlignment == 0 &&
              reinterpret_cast<std::uintptr_t>(part.iov_base) % tiers::kIoAlignment == 0;
  }
  if (!aligned && op.kind != IoKind::sync) {
    op.error = EINVAL;
  } else if (pending.hung) {
    op.error = ECANCELED;  // only the destructor finishes a hung op
  } else if (op.kind == IoKind::read) {
    read(op, file);
  } else if (file.mode == OpenMode::read && op.kind == IoKind::write) {
    op.error = EBADF;
  } else if (op.kind == IoKind::write) {
    write(op, file);
  } else {
    sync(op, file, pending.marker);
  }
}

void SimDevice::read(IoOp& op, const OpenFile& file) {
  if (fires(Fault::read_error, file.path)) {
    op.error = EIO;
    return;
  }
  std::uint64_t wanted = op.requested();
  if (wanted > 0 && fires(Fault::short_read, file.path)) {
    wanted = disk_->faults().draw(wanted) / kSimSector * kSimSector;
  }
  for (const iovec& part : op.buffers) {
    const std::uint64_t count = std::min<std::uint64_t>(part.iov_len, wanted - op.transferred);
    std::size_t got = 0;
    op.error = disk_->read(file.file, op.offset + op.transferred,
                           {static_cast<std::byte*>(part.iov_base), count}, &got);
    if (op.error != 0) return;
    op.transferred += got;
    if (got < part.iov_len) break;
  }
  if (op.transferred > 0 && fires(Fault::flipped_read, file.path)) {
    std::uint64_t victim = disk_->faults().draw(op.transferred);
    for (const iovec& part : op.buffers) {
      if (victim < part.iov_len) {
        static_cast<std::byte*>(part.iov_base)[victim] ^= std::byte{1} << disk_->faults().draw(8);
        break;
      }
      victim -= part.iov_len;
    }
  }
}

void SimDevice::write(IoOp& op, const OpenFile& file) {
  std::string bytes;
  for (const iovec& part : op.buffers) {
    bytes.append(static_cast<const char*>(part.iov_base), part.iov_len);
  }
  std::uint64_t offset = op.offset;
  FaultInjector& faults = disk_->faults();
  std::size_t written = 0;
  if (fires(Fault::no_space, file.path)) {
    op.error = ENOSPC;
    return;
  }
  if (!bytes.empty() && fires(Fault::write_error, file.path)) {
    const std::uint64_t part = faults.draw(bytes.size() + 1) / kSimSector * kSimSector;
    disk_->write(file.file, offset, as_bytes(bytes).first(part), &written);
    op.error = EIO;
    return;
  }
  if (fires(Fault::lost_write, file.path)) {
    op.error = disk_->frozen() ? EIO : 0;
    op.transferred = op.error == 0 ? bytes.size() : 0;
    return;
  }
  if (!bytes.empty() && fires(Fault::short_write, file.path)) {
    bytes.resize(faults.draw(bytes.size()) / kSimSector * kSimSector);
  }
  const std::uint64_t pages = disk_->length(file.file) / kSimPage;
  if (pages > 1 && fires(Fault::misdirected_write, file.path)) {
    const std::uint64_t shift = 1 + faults.draw(pages - 1);
    offset = (offset / kSimPage + shift) % pages * kSimPage;
    const std::uint64_t room = pages * kSimPage - offset;
    op.transferred = bytes.size();  // the lie
    op.error =
        disk_->write(file.file, offset,
                     as_bytes(bytes).first(std::min<std::uint64_t>(bytes.size(), room)), &written);
    if (op.error != 0) op.transferred = 0;
    return;
  }
  op.error = disk_->write(file.file, offset, as_bytes(bytes), &written);
  op.transferred = op.error == 0 ? written : 0;
}

void SimDevice::sync(IoOp& op, const OpenFile& file, std::uint64_t marker) {
  op.error = fires(Fault::sync_error, file.path) ? disk_->sync_badly(file.file)
                                                 : disk_->sync(file.file, marker);
}

bool SimDevice::fires(Fault fault, const std::string& path) {
  return disk_->faults().fires(Side::device, fault, path);
}

SimDevice::OpenFile* SimDevice::find(FileId file) {
  MutexLock lock(mutex_);
  const auto found = files_.find(static_cast<int>(file));
  return found == files_.end() ? nullptr : &found->second;  // closed only when it has no ops
}

void SimDevice::release_hung() {
  release_hung_ = true;
  wake();
}

std::size_t SimDevice::hung() const {
  return hung_;
}

tiers::DeviceInfo SimDevice::device_info() const {
  return {"simulated", true, options_.depth, "in memory"};
}

DeviceCounters SimDevice::device_counters() const {
  MutexLock lock(mutex_);
  return counters_;
}

}  // namespace cairn::test
