// What the user asked for.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "reprise/checkpoint.h"

namespace reprise::cli {

/// The options that `train` and `compare` share. Unset ones take the model's defaults.
struct RunOptions {
  std::string model;  // "gpt" or "resnet"
  std::optional<std::string> preset;
  std::optional<std::int64_t> layers;  // GPT: blocks; ResNet: blocks per stage
  std::optional<std::int64_t> width, heads, seq, vocab;
  std::optional<double> dropout, lr, weight_decay, clip;
  std::optional<std::int64_t> batch, steps;
  std::optional<std::string> schedule;  // constant, step or cosine
  std::optional<std::int64_t> warmup;
  std::string data;
  std::string sources;  // folder of this project's sources, a text; empty: where it was built
  bool augment = false;
  std::uint64_t seed = 1;
  std::optional<int> threads;
  std::optional<std::int64_t> capacity_mib;
  std::string device = "cpu";
  std::string dtype = "float32";
  std::optional<std::int64_t> loss_chunk;
  bool graph = false;  // capture the step into a CUDA graph
  bool arena = false;  // `train`: one slab, planned before the first step
  std::string json;
  bool anomaly = false;
  bool dry = false;                   // sizes only: no batch of data is read
  bool only_predicted = false;        // by `predict`: no data is read later, either
  std::optional<std::int64_t> image;  // side of the images in pixels, where they are not read
};

struct TrainOptions : RunOptions {
  checkpoint::Setting segments;
  std::int64_t eval_every = 0;
  std::int64_t sample = 300;
  bool auto_segments = false;  // begin without, and choose when memory runs out
};

struct CompareOptions : RunOptions {
  std::vector<checkpoint::Setting> segments;
  std::string plot;
  std::string report;  // folder
};

/// What `predict` searches the largest value of.
enum class Fit : std::uint8_t { nothing, batch, seq };

/// `device` names a profile.
struct PredictOptions : RunOptions {
  std::vector<checkpoint::Setting> segments;
  Fit fit = Fit::nothing;
};

/// Says what was compiled in and which devices there are; returns the exit status.
int info();

/// Trains one model; returns the exit status.
int train(const TrainOptions& options);

/// Runs the same steps under several settings; returns the exit status.
int compare(const CompareOptions& options);

/// Says what a step takes on a device that need not be there; returns the exit status.
int predict(const PredictOptions& options);

}  // namespace reprise::cli
