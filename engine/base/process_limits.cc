// SPDX-License-Identifier: Apache-2.0
#include "engine/base/process_limits.h"

#include <pthread.h>
#include <sys/mman.h>

#include <cerrno>
#include <ctime>
#include <exception>
#include <latch>
#include <utility>
#include <vector>

#include "engine/base/bytes.h"
#include "engine/base/status.h"
#include "engine/base/text.h"

namespace cairn {
namespace {

sigset_t file_size_signal() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGXFSZ);
  return set;
}

}  // namespace

absl::StatusOr<std::thread> start_thread(std::string name, absl::AnyInvocable<void()> body) {
  // A thread begins with the mask of the one that makes it: there is no moment without.
  const FileSizeSignalBlock block;
  const std::string shown = name;
  // The one constructor of ours that can fail throws, also where memory for its stack ran out.
  try {
    return std::thread([name = std::move(name), body = std::move(body)]() mutable {
      pthread_setname_np(pthread_self(), name.substr(0, 15).c_str());
      body();
    });
  } catch (const std::exception& error) {
    return make_error(ErrorCode::busy, concat("no thread for ", shown, ": ", error.what()));
  }
}

absl::Status check_resources(std::size_t threads, std::uint64_t bytes) {
  std::vector<std::thread> started;
  std::latch leave(1);
  absl::Status status;
  while (started.size() < threads && status.ok()) {
    auto thread = start_thread("cairn-probe", [&leave] { leave.wait(); });
    status = thread.status();
    if (thread.ok()) started.push_back(*std::move(thread));
  }
  if (status.ok()) status = HeldAddressSpace::hold(bytes).status();
  leave.count_down();
  for (std::thread& thread : started) thread.join();
  return status;
}

absl::StatusOr<HeldAddressSpace> HeldAddressSpace::hold(std::uint64_t bytes) {
  void* const memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory != MAP_FAILED) return HeldAddressSpace(memory, bytes);
  return make_error(ErrorCode::busy, concat("no memory for ", format_size(bytes)));
}

HeldAddressSpace::HeldAddressSpace(HeldAddressSpace&& other) noexcept
    : memory_(std::exchange(other.memory_, nullptr)), bytes_(other.bytes_) {}

HeldAddressSpace::~HeldAddressSpace() {
  release();
}

void HeldAddressSpace::release() {
  if (memory_ != nullptr) munmap(std::exchange(memory_, nullptr), bytes_);
}

FileSizeSignalBlock::FileSizeSignalBlock() {
  const sigset_t set = file_size_signal();
  sigset_t before;
  pthread_sigmask(SIG_BLOCK, &set, &before);
  was_blocked_ = sigismember(&before, SIGXFSZ) == 1;
}

FileSizeSignalBlock::~FileSizeSignalBlock() {
  if (was_blocked_) return;
  const sigset_t set = file_size_signal();
  const int error = errno;  // of the call that was protected
  const timespec now{};
  while (sigtimedwait(&set, nullptr, &now) == SIGXFSZ) {
  }
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
  errno = error;
}

}  // namespace cairn
