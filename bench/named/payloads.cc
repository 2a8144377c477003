// SPDX-License-Identifier: Apache-2.0
#include "bench/named/payloads.h"

#include <memory>

#include "bench/named/disk_fixture.h"
#include "bench/workload/kv_model.h"
#include "engine/base/status.h"

namespace cairn::bench {

Payloads stamped_payloads() {
  return {.descriptor = {.name = "bench"}, .fill = stamp, .is = is_stamped};
}

absl::StatusOr<Payloads> kv_payloads() {
  CAIRN_ASSIGN_OR_RETURN(auto made, workload::KvModel::make("8b", Dtype::bf16));
  const auto model = std::make_shared<workload::KvModel>(std::move(made));
  return Payloads{.descriptor = model->descriptor("bench", 16),
                  .fill =
                      [model](MutableByteSpan out, std::uint64_t chain, std::uint64_t index) {
                        const std::string key = bench_key(chain, index);
                        model->fill({.namespace_name = "bench", .key = key}, out);
                      },
                  .is =
                      [model](ByteSpan bytes, std::uint64_t chain, std::uint64_t index) {
                        const std::string key = bench_key(chain, index);
                        return model->verify({.namespace_name = "bench", .key = key}, bytes);
                      }};
}

}  // namespace cairn::bench
