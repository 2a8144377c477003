// SPDX-License-Identifier: Apache-2.0
// codec_pool.h — threads that encode and decode, so that the loops that wait for devices need not.
//
// A worker keeps one encoder and one decoder, whose tables and buffers are larger than the chunks
// they are for. Work is taken in order of submission, by whichever worker is free; what it does
// next it posts itself to whoever waits for it.
//
// Without threads work runs inside submit(): in simulations, where a run is a function of its seed.
//
// Threading:  thread-safe.
// Blocking:   submit never, but for the work itself where there are no threads.
// Lifetime:   the destructor runs what was submitted. Outlives everything that submits.
#pragma once

#include <cstddef>
#include <deque>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "engine/base/mutex.h"
#include "tiers/codec/plane_codec.h"

namespace cairn::tiers {

/// What a worker has at hand. Confined to the work that it is given to.
class CodecWorker {
 public:
  /// Both for chunks of at most this many plain bytes.
  ChunkEncoder& encoder(std::size_t chunk_bytes_max);
  ChunkDecoder& decoder(std::size_t chunk_bytes_max);
  /// Memory to put bytes together in. What was there is gone.
  MutableByteSpan scratch(std::size_t bytes);

 private:
  std::size_t encodes_max_ = 0, decodes_max_ = 0;
  std::optional<ChunkEncoder> encoder_;
  std::optional<ChunkDecoder> decoder_;
  std::size_t scratch_bytes_ = 0;
  std::unique_ptr<std::byte[]> scratch_;
};

class CodecPool {
 public:
  using Work = absl::AnyInvocable<void(CodecWorker&)>;

  /// `busy` when the process may have no more threads.
  static absl::StatusOr<std::unique_ptr<CodecPool>> start(std::size_t threads);
  ~CodecPool();
  CodecPool(const CodecPool&) = delete;
  CodecPool& operator=(const CodecPool&) = delete;

  void submit(Work work);
  /// Into how many pieces work is worth being cut.
  std::size_t width() const { return threads_.empty() ? 1 : threads_.size(); }

 private:
  CodecPool() = default;
  void run();

  Mutex mutex_{LockRank::device};
  CondVar arrived_;
  std::deque<Work> queue_ CAIRN_GUARDED_BY(mutex_);
  bool stopping_ CAIRN_GUARDED_BY(mutex_) = false;
  CodecWorker inline_worker_;  // where there are no threads
  std::vector<std::thread> threads_;
};

}  // namespace cairn::tiers
