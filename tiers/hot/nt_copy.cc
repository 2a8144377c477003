// SPDX-License-Identifier: Apache-2.0
#include "tiers/hot/nt_copy.h"

#include <algorithm>
#include <cstring>

#include "engine/base/check.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace cairn::tiers {
namespace {

#if defined(__x86_64__)

/// Copies the bytes before the first 64-byte boundary of the target; returns how many.
std::size_t copy_head(std::byte* target, const std::byte* source, std::size_t bytes) {
  const auto misalignment = reinterpret_cast<std::uintptr_t>(target) % 64;
  const std::size_t head = std::min(bytes, misalignment == 0 ? 0 : 64 - misalignment);
  std::memcpy(target, source, head);
  return head;
}

__attribute__((target("avx2"))) void copy_avx2(std::byte* target, const std::byte* source,
                                               std::size_t bytes) {
  std::size_t done = copy_head(target, source, bytes);
  for (; done + 128 <= bytes; done += 128) {
    const auto* from = reinterpret_cast<const __m256i*>(source + done);
    auto* to = reinterpret_cast<__m256i*>(target + done);
    const __m256i a = _mm256_loadu_si256(from);
    const __m256i b = _mm256_loadu_si256(from + 1);
    const __m256i c = _mm256_loadu_si256(from + 2);
    const __m256i d = _mm256_loadu_si256(from + 3);
    _mm256_stream_si256(to, a);
    _mm256_stream_si256(to + 1, b);
    _mm256_stream_si256(to + 2, c);
    _mm256_stream_si256(to + 3, d);
  }
  std::memcpy(target + done, source + done, bytes - done);
  _mm_sfence();  // non-temporal stores become visible before whatever publishes the block
}

__attribute__((target("avx512f"))) void copy_avx512(std::byte* target, const std::byte* source,
                                                    std::size_t bytes) {
  std::size_t done = copy_head(target, source, bytes);
  for (; done + 256 <= bytes; done += 256) {
    const __m512i a = _mm512_loadu_si512(source + done);
    const __m512i b = _mm512_loadu_si512(source + done + 64);
    const __m512i c = _mm512_loadu_si512(source + done + 128);
    const __m512i d = _mm512_loadu_si512(source + done + 192);
    _mm512_stream_si512(reinterpret_cast<__m512i*>(target + done), a);
    _mm512_stream_si512(reinterpret_cast<__m512i*>(target + done + 64), b);
    _mm512_stream_si512(reinterpret_cast<__m512i*>(target + done + 128), c);
    _mm512_stream_si512(reinterpret_cast<__m512i*>(target + done + 192), d);
  }
  std::memcpy(target + done, source + done, bytes - done);
  _mm_sfence();
}

CopyKind detect() {
  if (__builtin_cpu_supports("avx512f")) return CopyKind::avx512;
  if (__builtin_cpu_supports("avx2")) return CopyKind::avx2;
  return CopyKind::plain;
}

#else

CopyKind detect() {
  return CopyKind::plain;
}

#endif

}  // namespace

CopyKind copy_kind() {
  static const CopyKind kind = detect();
  return kind;
}

void copy_bytes_as(CopyKind kind, MutableByteSpan target, ByteSpan source) {
  CAIRN_CHECK(target.size() == source.size());
  if (source.empty()) return;
#if defined(__x86_64__)
  if (kind == CopyKind::avx512 && __builtin_cpu_supports("avx512f")) {
    copy_avx512(target.data(), source.data(), source.size());
    return;
  }
  if (kind == CopyKind::avx2 && __builtin_cpu_supports("avx2")) {
    copy_avx2(target.data(), source.data(), source.size());
    return;
  }
#endif
  static_cast<void>(kind);
  std::memcpy(target.data(), source.data(), source.size());
}

void copy_bytes(MutableByteSpan target, ByteSpan source) {
  copy_bytes_as(source.size() >= kNtCopyMin ? copy_kind() : CopyKind::plain, target, source);
}

}  // namespace cairn::tiers
