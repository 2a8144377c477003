// SPDX-License-Identifier: Apache-2.0
#include "bench/registry.h"

#include <array>

#include "bench/named/named.h"

namespace cairn::bench {

std::span<const Bench> all_benches() {
  static constexpr std::array<Bench, 13> kBenches{{
      {"lookup", "longest prefix of 1,000 resident blocks, ns a block, against absl::flat_hash_map",
       run_lookup},
      {"hash", "blocks a second of each hash chain, one core, against the bare hash", run_hash},
      {"acquire", "acquire and release of 16 blocks, and reading what was acquired, against memcpy",
       run_acquire},
      {"cold-load", "a 64-block chain from disk, GB/s, against fio", run_cold_load},
      {"cold-put", "puts acknowledged as written, GB/s, against fio and BlobDB", run_cold_put},
      {"cold-get", "random blocks from disk, GB/s, against BlobDB", run_cold_get},
      {"warm", "the ways into warm and out of it, GB/s, against the codec alone and fio", run_warm},
      {"stream", "a chain four times as long as hot, from disk, GB/s, against cold-load's figure",
       run_stream},
      {"churn", "full tiers under gets, puts and erases: the last minute's speed by the first's",
       run_churn, true},
      {"write-amp", "bytes on the medium for each byte put, before cleaning and under churn",
       run_write_amp},
      {"restart", "from exec to the first verified cold hit after kill -9, and to a full catalog",
       run_restart},
      {"codec",
       "how much smaller a block gets and how fast, one core, against zstd on the raw bytes",
       run_codec},
      {"catalog", "bytes of RAM a block, while the catalog grows", run_catalog},
  }};
  return kBenches;
}

}  // namespace cairn::bench
