// SPDX-License-Identifier: Apache-2.0
// payloads.h — what the cold benches put and expect back.
//
// Threading: fill and is may run on many threads at once. Blocking: cpu.
#pragma once

#include <cstdint>
#include <functional>

#include "absl/status/statusor.h"
#include "engine/base/bytes.h"
#include "engine/namespace.h"

namespace cairn::bench {

/// Of blocks of 2 MiB, by their chain and their place in it.
struct Payloads {
  NamespaceDescriptor descriptor;
  std::function<void(MutableByteSpan, std::uint64_t chain, std::uint64_t index)> fill;
  std::function<bool(ByteSpan, std::uint64_t chain, std::uint64_t index)> is;
};

/// Stamped and else as they are: next to no work beside the disk's.
Payloads stamped_payloads();
/// KV of the model 8b in bf16, which the codec makes smaller.
absl::StatusOr<Payloads> kv_payloads();

}  // namespace cairn::bench
