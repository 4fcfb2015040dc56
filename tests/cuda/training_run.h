// A few steps of a small GPT or ResNet on a device, and digests of all that came out.
#pragma once

#include <string>
#include <vector>

#include "reprise/reprise.h"

namespace reprise::test {

/// What a run has left; equal runs leave equal outcomes.
struct Outcome {
  std::vector<double> losses;
  std::string gradients, parameters, buffers;
  Generator generator;
  bool operator==(const Outcome&) const = default;
};

struct TrainingOptions {
  std::string segments = "none";
  int steps = 3;
  double dropout = 0.1;
  bool graph = false;
  DType dtype = DType::float32;
  std::int64_t loss_chunk = 0;
};

/// Trains on this thread's default device, with the generator started anew.
Outcome train_gpt(const TrainingOptions& options);
Outcome train_resnet(const TrainingOptions& options);

}  // namespace reprise::test
