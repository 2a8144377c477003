// SPDX-License-Identifier: Apache-2.0
#include "bench/named/coded_blocks.h"

#include <xxhash.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <thread>

#include "bench/workload/kv_model.h"
#include "engine/base/status.h"
#include "engine/base/text.h"

namespace cairn::bench {

using tiers::ChunkDecoder;
using tiers::ChunkEncoder;
using workload::KvModel;

absl::StatusOr<std::shared_ptr<Blocks>> make_blocks(Dtype dtype, std::size_t count) {
  CAIRN_ASSIGN_OR_RETURN(const KvModel model, KvModel::make("8b", dtype));
  auto blocks = std::make_shared<Blocks>();
  blocks->dtype = dtype;
  blocks->block_bytes = model.block_bytes();
  blocks->chunk_bytes = plane_bytes(model.shape().layout, dtype);
  for (std::size_t i = 0; i < count; ++i) {
    blocks->plain.emplace_back(model.block_bytes());
    model.fill({.namespace_name = "bench", .key = concat(i)}, blocks->plain.back());
  }
  return blocks;
}

void encode(ChunkEncoder& encoder, const Blocks& blocks, std::size_t i, Image& image) {
  image.stored.resize(blocks.block_bytes);
  image.chunks.clear();
  std::size_t end = 0;
  const ByteSpan plain = blocks.plain[i];
  for (std::size_t at = 0; at < plain.size(); at += blocks.chunk_bytes) {
    const MutableByteSpan out = MutableByteSpan(image.stored).subspan(end, blocks.chunk_bytes);
    const auto chunk = encoder.encode(blocks.dtype, plain.subspan(at, blocks.chunk_bytes), out);
    image.chunks.push_back(
        {chunk.encoding, end, chunk.stored_bytes, XXH3_64bits(out.data(), chunk.stored_bytes)});
    end += chunk.stored_bytes;
  }
  image.stored_bytes = end;
}

namespace {

absl::Status decode(ChunkDecoder& decoder, const Blocks& blocks, const Image& image,
                    MutableByteSpan plain) {
  for (std::size_t c = 0; c < image.chunks.size(); ++c) {
    const Image::Chunk& chunk = image.chunks[c];
    const ByteSpan stored = ByteSpan(image.stored).subspan(chunk.offset, chunk.bytes);
    if (XXH3_64bits(stored.data(), stored.size()) != chunk.sum)
      return make_error(ErrorCode::corruption, "the bench's own bytes have changed");
    CAIRN_RETURN_IF_ERROR(decoder.decode(
        chunk.encoding, stored, plain.subspan(c * blocks.chunk_bytes, blocks.chunk_bytes)));
  }
  return absl::OkStatus();
}

}  // namespace

Run encode_run(const std::shared_ptr<Blocks>& blocks) {
  return [blocks]() -> absl::StatusOr<double> {
    ChunkEncoder encoder(blocks->chunk_bytes);
    Image image;
    encode(encoder, *blocks, 0, image);
    const Stopwatch watch;
    for (std::size_t i = 0; i < blocks->plain.size(); ++i) encode(encoder, *blocks, i, image);
    keep(image.stored_bytes);
    return blocks->giga(watch.seconds());
  };
}

Run decode_run(const std::shared_ptr<Blocks>& blocks) {
  auto images = std::make_shared<std::vector<Image>>(blocks->plain.size());
  ChunkEncoder encoder(blocks->chunk_bytes);
  for (std::size_t i = 0; i < images->size(); ++i) encode(encoder, *blocks, i, (*images)[i]);
  return [blocks, images]() -> absl::StatusOr<double> {
    ChunkDecoder decoder(blocks->chunk_bytes);
    std::vector<std::byte> plain(blocks->block_bytes);
    const Stopwatch watch;
    for (const Image& image : *images)
      CAIRN_RETURN_IF_ERROR(decode(decoder, *blocks, image, plain));
    const double speed = blocks->giga(watch.seconds());
    if (plain != blocks->plain.back())
      return make_error(ErrorCode::corruption, "a block did not come back");
    return speed;
  };
}

namespace {

/// Runs `work(thread, i)` for all i below `count`: whichever thread is free takes the next.
/// Seconds.
double timed(unsigned threads, std::size_t count,
             const std::function<void(unsigned, std::size_t)>& work) {
  std::atomic<std::size_t> next{0};
  const auto run = [&](unsigned thread) {
    for (std::size_t i = next.fetch_add(1); i < count; i = next.fetch_add(1)) work(thread, i);
  };
  const Stopwatch watch;
  std::vector<std::thread> others;
  for (unsigned t = 1; t < threads; ++t) others.emplace_back(run, t);
  run(0);
  for (std::thread& other : others) other.join();
  return watch.seconds();
}

}  // namespace

Run encode_run(const std::shared_ptr<Blocks>& blocks, unsigned threads) {
  struct Worker {
    explicit Worker(const Blocks& of) : encoder(of.chunk_bytes) { encode(encoder, of, 0, image); }
    ChunkEncoder encoder;
    Image image;
  };
  auto workers = std::make_shared<std::vector<std::unique_ptr<Worker>>>();
  for (unsigned t = 0; t < threads; ++t) workers->push_back(std::make_unique<Worker>(*blocks));
  return [blocks, workers, threads]() -> absl::StatusOr<double> {
    const auto one = [&](unsigned t, std::size_t i) {
      Worker& worker = *(*workers)[t];
      encode(worker.encoder, *blocks, i, worker.image);
      keep(worker.image.stored_bytes);
    };
    return blocks->giga(timed(threads, blocks->plain.size(), one));
  };
}

Run decode_run(const std::shared_ptr<Blocks>& blocks, unsigned threads) {
  struct Work {
    std::vector<Image> images;
    std::vector<std::byte> plain;
    std::vector<std::unique_ptr<ChunkDecoder>> decoders;
  };
  auto work = std::make_shared<Work>();
  work->images.resize(blocks->plain.size());
  work->plain.resize(blocks->bytes());
  ChunkEncoder encoder(blocks->chunk_bytes);
  for (std::size_t i = 0; i < work->images.size(); ++i)
    encode(encoder, *blocks, i, work->images[i]);
  for (unsigned t = 0; t < threads; ++t)
    work->decoders.push_back(std::make_unique<ChunkDecoder>(blocks->chunk_bytes));
  return [blocks, work, threads]() -> absl::StatusOr<double> {
    const auto place = [&](std::size_t i) {
      return MutableByteSpan(work->plain).subspan(i * blocks->block_bytes, blocks->block_bytes);
    };
    std::vector<absl::Status> statuses(threads);
    const double seconds = timed(threads, work->images.size(), [&](unsigned t, std::size_t i) {
      if (!statuses[t].ok()) return;
      statuses[t] = decode(*work->decoders[t], *blocks, work->images[i], place(i));
    });
    for (const absl::Status& status : statuses) CAIRN_RETURN_IF_ERROR(status);
    const ByteSpan last = place(work->images.size() - 1);
    if (!std::equal(last.begin(), last.end(), blocks->plain.back().begin()))
      return make_error(ErrorCode::corruption, "a block did not come back");
    return blocks->giga(seconds);
  };
}

}  // namespace cairn::bench
