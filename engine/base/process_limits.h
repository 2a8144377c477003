// SPDX-License-Identifier: Apache-2.0
// process_limits.h — what a process may be refused: threads, memory, larger files.
//
// Each is an error here and neither an exception nor a signal.
//
// A library changes no disposition of its host. So SIGXFSZ, which the kernel sends beside EFBIG
// when a file would pass RLIMIT_FSIZE, is blocked where the store writes, and EFBIG is left as the
// error that it is.
//
// Threading:  anywhere; a FileSizeSignalBlock lives and dies on one thread.
// Blocking:   never.
// Failure:    `busy` when the process may have no more threads or memory for one.
#pragma once

#include <csignal>
#include <cstdint>
#include <string>
#include <thread>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"

namespace cairn {

/// Runs `body` on a thread of that name (15 bytes of it), for whose whole life SIGXFSZ is blocked.
absl::StatusOr<std::thread> start_thread(std::string name, absl::AnyInvocable<void()> body);

/// OK if the process could start so many more threads and map so many more bytes just now. For the
/// sake of libraries that do not survive when it cannot.
absl::Status check_resources(std::size_t threads, std::uint64_t bytes);

/// Address space that is kept until it goes out of scope, so that what comes in between cannot take
/// the room of what comes after. Costs no memory.
class HeldAddressSpace {
 public:
  static absl::StatusOr<HeldAddressSpace> hold(std::uint64_t bytes);
  HeldAddressSpace(HeldAddressSpace&& other) noexcept;
  HeldAddressSpace& operator=(HeldAddressSpace&&) = delete;
  ~HeldAddressSpace();
  void release();

 private:
  HeldAddressSpace(void* memory, std::uint64_t bytes) : memory_(memory), bytes_(bytes) {}
  void* memory_;
  std::uint64_t bytes_;
};

/// While it lives, the calling thread gets no SIGXFSZ; one that was raised in between is gone when
/// it ends. Costs a system call on a thread that has it blocked anyway.
class FileSizeSignalBlock {
 public:
  FileSizeSignalBlock();
  ~FileSizeSignalBlock();
  FileSizeSignalBlock(const FileSizeSignalBlock&) = delete;
  FileSizeSignalBlock& operator=(const FileSizeSignalBlock&) = delete;

 private:
  bool was_blocked_ = false;
};

}  // namespace cairn
