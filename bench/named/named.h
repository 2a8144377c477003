// SPDX-License-Identifier: Apache-2.0
// named.h — the benches that `cairn bench NAME` runs, one file each in this folder.
#pragma once

#include "absl/status/statusor.h"
#include "bench/registry.h"

namespace cairn::bench {

absl::StatusOr<Report> run_lookup(const Settings& settings);
absl::StatusOr<Report> run_hash(const Settings& settings);
absl::StatusOr<Report> run_acquire(const Settings& settings);
absl::StatusOr<Report> run_cold_load(const Settings& settings);
absl::StatusOr<Report> run_cold_put(const Settings& settings);
absl::StatusOr<Report> run_cold_get(const Settings& settings);
absl::StatusOr<Report> run_write_amp(const Settings& settings);
absl::StatusOr<Report> run_restart(const Settings& settings);
absl::StatusOr<Report> run_codec(const Settings& settings);
absl::StatusOr<Report> run_warm(const Settings& settings);
absl::StatusOr<Report> run_stream(const Settings& settings);
absl::StatusOr<Report> run_churn(const Settings& settings);
absl::StatusOr<Report> run_catalog(const Settings& settings);

}  // namespace cairn::bench
