// SPDX-License-Identifier: Apache-2.0
// engine_factory.h — makes an Engine from tiers. For tiers/open.h and for tests.
#pragma once

#include <memory>

#include "engine/base/event_loop.h"
#include "engine/engine.h"
#include "engine/tier.h"

namespace cairn {

/// What an engine is made of; all outlive it. The mover's loop runs everything the engine does
/// in the background (eviction, recovery, re-warming, deadlines); it may block on disk.
struct EngineParts {
  AddressableTier* hot = nullptr;
  ImageTier* warm = nullptr;    // null: none
  DurableTier* cold = nullptr;  // null: RAM only
  EventLoop* mover_loop = nullptr;
  const Clock* clock = &system_clock();
  /// Called while close() and flush() wait; null where threads run the loops.
  std::function<void()> pump;
};

absl::StatusOr<std::unique_ptr<Engine>> make_engine(const EngineOptions& options,
                                                    const EngineParts& parts);

}  // namespace cairn
