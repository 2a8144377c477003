// SPDX-License-Identifier: Apache-2.0
// aligned_buffer.h — memory that O_DIRECT accepts.
//
// Threading:  thread-compatible.
// Blocking:   cpu; fresh memory is zeroed by the kernel on first touch.
// Failure:    an allocation that fails throws std::bad_alloc, as new does.
// Lifetime:   outlives the transfers that use it.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>

#include "engine/base/bytes.h"
#include "tiers/io/device.h"

namespace cairn::tiers {

/// Address and size are multiples of kIoAlignment. The content is indeterminate.
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(std::size_t bytes)
      : bytes_(static_cast<std::size_t>(round_up(bytes, kIoAlignment))),
        memory_(static_cast<std::byte*>(::operator new (bytes_, std::align_val_t{kIoAlignment}))) {}

  std::byte* data() const { return memory_.get(); }
  std::size_t size() const { return bytes_; }
  MutableByteSpan span() const { return {data(), bytes_}; }
  explicit operator bool() const { return memory_ != nullptr; }

 private:
  struct Free {
    void operator()(std::byte* memory) const {
      ::operator delete (memory, std::align_val_t{kIoAlignment});
    }
  };
  std::size_t bytes_ = 0;
  std::unique_ptr<std::byte, Free> memory_;
};

}  // namespace cairn::tiers
