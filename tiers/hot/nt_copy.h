// SPDX-License-Identifier: Apache-2.0
// nt_copy.h — memcpy for blocks that nobody will read again soon.
//
// Large copies go around the cache with non-temporal stores: a 2 MiB block would otherwise evict
// the caller's working set, and each line would be read before it is overwritten. Chosen at run
// time: AVX-512, AVX2, or memcpy; small copies are always memcpy.
//
// Threading: pure. Blocking: cpu.
#pragma once

#include <cstdint>

#include "engine/base/bytes.h"

namespace cairn::tiers {

/// target.size() == source.size(); they do not overlap.
void copy_bytes(MutableByteSpan target, ByteSpan source);

enum class CopyKind : std::uint8_t { plain, avx2, avx512 };
/// What copy_bytes uses from kNtCopyMin on.
CopyKind copy_kind();
constexpr std::size_t kNtCopyMin = std::size_t{256} * 1024;
/// For tests and benches: one kind, whatever the size. Falls back to plain where the processor
/// lacks it.
void copy_bytes_as(CopyKind kind, MutableByteSpan target, ByteSpan source);

}  // namespace cairn::tiers
