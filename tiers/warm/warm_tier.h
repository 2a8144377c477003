// SPDX-License-Identifier: Apache-2.0
// warm_tier.h — blocks in RAM as cold would store them: made smaller once, moved as bytes.
//
// What warm holds of a block is its image: the record that cold writes, header and payload, byte
// for byte but for the place and the epoch, which whoever writes the record fills in. The codec
// runs when a block comes from hot and never on the way to or from cold: an image is lent as parts
// that a device writes from where they lie (image()), and made of another image (TierWrite::image),
// whose payload a device may have read to where it stays (landing()).
//
//   header   in memory of its own: fixed part, key, chunk table, closing sum (record/format.h)
//   payload  the chunks, one behind the other, in pages of 4 KiB, from the beginning of a page on;
//            a rest of up to 2 KiB lies in a share (512 B, 1 or 2 KiB) of a page with others' rests
//
// So a block wastes less than 2 KiB, and records of up to 2 KiB are packed two to eight to a page;
// one of 2 to 4 KiB takes a page. A page with a single share in use counts as a whole one.
//
// Pages lie in regions of anonymous memory. The lowest are given out first, so that neighbours
// stay neighbours, and a chunk that lies in one piece is decoded from where it is. One that does
// not is first put together in the thread's scratch. What is stored as it is is copied once.
// Measured, one thread, CPU time, 2 MiB of bf16 in chunks of 32 KiB (docs/decisions/0007): writing
// takes as long as encoding alone, within 4 %, reading as long as decoding alone, and an eighth
// longer where no two pages of a block are neighbours.
//
// A block is encoded by one thread, a batch by as many as the pool has: pieces of one block would
// have to be moved together afterwards. Reads of large blocks are cut into pieces.
//
// A read allocates some four times for a batch and not for each block, and costs a quarter of a
// microsecond beside decoding; lending allocates three times. A write allocates some ten times for
// each block, which is nothing beside encoding it.
//
// An image is kept under the name and the facts of the write: of its own fields only how the
// payload is stored is taken, and looked at before it is believed, whoever made it.
//
// A spare (an image whose block is hot again) is an image like any other: whoever lists its
// location keeps it, and frees it when the room is wanted.
//
// Threading:  thread-safe. One lock (LockRank::warm_tier) guards slots, pages and counts; it is not
//             held while bytes are encoded, decoded, copied or summed. A codec's pool without
//             threads has one worker for all who submit at once, and so is not thread-safe; there
//             the tier lends each caller a worker of its own, and stays so.
// Blocking:   never, but for the coding itself where the pool has no threads; close() and the
//             destructor wait for what is under way, dones and what they own included, and so are
//             never called from a done.
// Failure:    as Tier. Every read checks the header's closing sum, full name, version, length, and
//             the sum of each chunk: what differs is `corruption`, and the destination garbage. So
//             is a location that was freed before the read began; a read that began before ends
//             well, and so does what was lent: pages go back when the last has left them.
//             An image is written as `corruption` where its fields, lengths or sums do not agree,
//             and as `format` where its codec or an encoding is not known to this build, or its
//             chunks are of another length than its namespace's.
// Lifetime:   the codec's pool and clock outlive the tier, which outlives what it lent. Letting go
//             of that takes the tier's lock and may make system calls: on any thread, also after
//             close(), but not under a lock of rank `warm_tier` or lower.
//
// Invariants:
//   W1  used and reserved pages are resident; a page is free, used whole, or shared, never two
//   W2  resident pages and what blocks cost beside never pass the capacity, but while they have yet
//       to shrink after set_capacity()
//   W3  an image that can be found is whole, and no byte of it changes any more
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/base/clock.h"
#include "engine/namespace.h"
#include "engine/tier.h"
#include "tiers/codec/codec_pool.h"
#include "tiers/record/stored_image.h"

namespace cairn::tiers {

struct WarmOptions {
  std::uint64_t capacity_bytes = kGiB;
  /// Of memory that is mapped at once: whole pages, at most 256 MiB. 65536 regions are the most,
  /// and so the largest capacity; set_capacity() takes what is more for that.
  std::uint64_t region_bytes = 16 * kMiB;
  bool huge_pages = true;  // asked for, not insisted on
  bool codec = true;       // false: blocks are stored as they are
};

/// How blocks of a namespace are cut and coded; the same as cold's, or images would not be.
struct WarmCoding {
  Dtype dtype = Dtype::opaque;
  std::uint32_t chunk_bytes = kOpaqueChunkBytes;
};

struct WarmContext {
  CodecPool* codec = nullptr;
  const Clock* clock = &system_clock();
  /// Nothing where there is no such namespace. Called without a lock.
  std::function<std::optional<WarmCoding>(NamespaceId)> coding;
};

class WarmTier : public ImageTier {
 public:
  /// Pages for a stored payload of `payload_bytes`, at most the reserved plain length: whole pages
  /// and page-aligned, so that a device reads into them, up to the end of the last. The location
  /// then goes into one write() or one free(), after the device has let go of them. An image whose
  /// payload lies in them from the first byte on and in order stays where it is; one that lies
  /// elsewhere is copied as ever, and what lies in them in any other way is `invalid_argument`.
  virtual absl::StatusOr<std::vector<MutableByteSpan>> landing(Location location,
                                                               std::uint32_t payload_bytes) = 0;

  virtual void check_invariants() const = 0;
};

/// `invalid_argument` for options that cannot be.
absl::StatusOr<std::unique_ptr<WarmTier>> open_warm_tier(const WarmOptions& options,
                                                         WarmContext context);

}  // namespace cairn::tiers
