// SPDX-License-Identifier: Apache-2.0
#include "tiers/codec/codec_pool.h"

#include <utility>

#include "engine/base/process_limits.h"
#include "engine/base/status.h"

namespace cairn::tiers {

ChunkEncoder& CodecWorker::encoder(std::size_t chunk_bytes_max) {
  if (!encoder_ || chunk_bytes_max > encodes_max_) {
    encoder_.emplace(chunk_bytes_max);
    encodes_max_ = chunk_bytes_max;
  }
  return *encoder_;
}

ChunkDecoder& CodecWorker::decoder(std::size_t chunk_bytes_max) {
  if (!decoder_ || chunk_bytes_max > decodes_max_) {
    decoder_.emplace(chunk_bytes_max);
    decodes_max_ = chunk_bytes_max;
  }
  return *decoder_;
}

MutableByteSpan CodecWorker::scratch(std::size_t bytes) {
  if (bytes > scratch_bytes_) {
    scratch_.reset(new std::byte[bytes]);
    scratch_bytes_ = bytes;
  }
  return {scratch_.get(), bytes};
}

absl::StatusOr<std::unique_ptr<CodecPool>> CodecPool::start(std::size_t threads) {
  std::unique_ptr<CodecPool> pool(new CodecPool);
  for (std::size_t i = 0; i < threads; ++i) {
    CAIRN_ASSIGN_OR_RETURN(std::thread thread,
                           start_thread("codec", [p = pool.get()] { p->run(); }));
    pool->threads_.push_back(std::move(thread));
  }
  return pool;
}

CodecPool::~CodecPool() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  arrived_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void CodecPool::submit(Work work) {
  if (threads_.empty()) {
    work(inline_worker_);
    return;
  }
  {
    MutexLock lock(mutex_);
    queue_.push_back(std::move(work));
  }
  arrived_.notify_one();
}

void CodecPool::run() {
  CodecWorker worker;
  for (;;) {
    Work work;
    {
      MutexLock lock(mutex_);
      while (queue_.empty() && !stopping_) arrived_.wait(mutex_);
      if (queue_.empty()) return;
      work = std::move(queue_.front());
      queue_.pop_front();
    }
    work(worker);
  }
}

}  // namespace cairn::tiers
