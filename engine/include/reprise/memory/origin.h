// Whom memory was given to.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "reprise/place.h"
#include "reprise/shape.h"

namespace reprise {

/// What a training step is doing.
enum class Phase : std::uint8_t { other, forward, replay, backward, optimiser };

/// "forward", "replay", ...
std::string_view name_of(Phase phase);

/// Who asked for a block of memory, and what for.
struct Origin {
  std::string_view operation{};  // of static storage: "softmax"; empty: unknown
  Phase phase = Phase::other;
  bool scratch = false;  // bytes that an operation needs while it runs, no tensor
  DType dtype = DType::float32;
  Shape shape{};                 // of scratch: its bytes alone
  const Place* place = nullptr;  // in the model; for parameters and buffers, their name. Null: unknown
};

/// "linear (8, 128, 512) float32, backward in transformer.h.3.mlp (models/gpt.cpp:98)", as much of it as is
/// known.
std::string describe(const Origin& origin);

}  // namespace reprise
