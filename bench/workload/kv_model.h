// SPDX-License-Identifier: Apache-2.0
// kv_model.h — payloads that behave like KV, each a pure function of its name.
//
// Random bytes make a codec look useless and zeros make it look magic, so everything that
// measures or checks uses this one model: per channel a mean and a spread drawn once, keys with
// few channels of large steady outliers, values with none (after KIVI, arXiv 2402.02750, and
// KVQuant, arXiv 2401.18079). It is synthetic; a figure measured on it has to say so.
//
// Making normal deviates at memory speed is not possible, so a model keeps a few base blocks
// and a payload is one of them with the low mantissa bits of every element XORed by a stream
// that its name seeds anew for every 4 KiB page. Those bits are uniform already, so that keeps
// the statistics (zstd -1 gets 1.249 on 8b in bf16, as without), and a block which is swapped,
// shifted, stale, foreign or torn differs from the right one in about half of thousands of bits
// on every page.
//
// Nothing is stamped into a payload, so what is stored is what the model says.
//
// Threading: immutable; fill and verify may run on many threads at once. Blocking: cpu.
// Cost:      make() draws about 16 MiB of values (0.15 s); the model then holds
//            16 … 20 MiB. fill and verify take 0.1 ns a byte
//            (workload_bench: 10.5 GB/s and more).
// Invariants: equal arguments give equal bytes, in every process of one build on one machine.
//             (Across machines the C library's logarithm may round a base value differently.)
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/base/bytes.h"
#include "engine/namespace.h"

namespace cairn::workload {

struct ModelShape {
  std::string_view name;
  BlockLayout layout;
};

/// 1b, 8b, 70b, mla, tiny.
std::span<const ModelShape> model_shapes();
std::optional<ModelShape> find_model_shape(std::string_view name);

/// Whose bytes. A content-addressed block has version 0.
struct PayloadName {
  std::string_view namespace_name;
  std::string_view key;
  std::uint64_t version = 0;
};

class KvModel {
 public:
  /// `invalid_argument` for a model that is not in model_shapes() and for Dtype::opaque.
  static absl::StatusOr<KvModel> make(std::string_view model, Dtype dtype = Dtype::bf16);

  const ModelShape& shape() const { return shape_; }
  Dtype dtype() const { return dtype_; }
  std::size_t block_bytes() const { return block_bytes_; }
  /// A content-addressed namespace for this model's blocks under keys of the native chain.
  NamespaceDescriptor descriptor(std::string name, std::uint32_t tokens_per_block) const;

  /// `out` has block_bytes() bytes, aligned or not.
  void fill(const PayloadName& name, MutableByteSpan out) const;
  /// Whether `bytes` is exactly what fill would write; false for any other length. Keeps no
  /// second copy of the block.
  bool verify(const PayloadName& name, ByteSpan bytes) const;

 private:
  struct alignas(64) Line {
    std::uint64_t words[8];
  };
  struct Variation {
    const Line* base;
    std::uint64_t stream;
  };

  KvModel(ModelShape shape, Dtype dtype);
  Variation variation(const PayloadName& name) const;

  ModelShape shape_;
  Dtype dtype_;
  std::size_t block_bytes_;
  std::size_t pool_blocks_;
  std::uint64_t model_seed_;
  std::uint64_t varied_bits_;  // of eight bytes of payload
  std::vector<Line> pool_;
};

}  // namespace cairn::workload
