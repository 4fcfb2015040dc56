// The stand-in runtime under the engine: settings that end with the test, training runs, and what they leave.
#pragma once

#include <catch2/catch.hpp>
#include <sstream>
#include <string>

#include "devices/cuda_state.h"
#include "simt/emulator/config.h"
#include "simt/runtime/control.h"
#include "simt/seam.h"
#include "training_run.h"

namespace reprise::test {

struct Model {
  const char* name;
  Outcome (*train)(const TrainingOptions&);
};
inline constexpr Model kModels[] = {{"gpt", train_gpt}, {"resnet", train_resnet}};

/// Gives the device back what the engine keeps for it. One line for everything that is left there; plans of
/// the libraries, which live as long as the process, are left out.
inline std::string left_on_device() {
  detail::forget_cuda_state(0);
  std::istringstream report(simt::runtime::leak_report());
  std::string left;
  for (std::string line; std::getline(report, line);) {
    if (!line.starts_with("cuBLASLt") && !line.starts_with("cuDNN")) left += line + '\n';
  }
  return left;
}

/// The stand-in as a program finds it when it starts. Faults are noted rather than fatal, and are none when
/// the test ends.
class StandIn {
 public:
  StandIn() : config_(simt::config) {
    start_again();
    simt::config.abort_on_error = false;
  }
  StandIn(const StandIn&) = delete;
  StandIn& operator=(const StandIn&) = delete;
  ~StandIn() {
    CHECK(simt::last_error == "");
    start_again();
    simt::config = config_;
  }
  simt::runtime::Control& control() const { return simt::runtime::control(); }
  simt::runtime::Control* operator->() const { return &control(); }

  /// The settings are the default ones, calls are counted from here, and the engine has not used the device.
  static void start_again() {
    simt::runtime::reset();
    detail::forget_cuda_state(0);
    simt::runtime::reset_calls();
  }

 private:
  simt::Config config_;
};

/// What a run came to: an outcome, or the error that it threw.
struct Attempt {
  Outcome outcome;
  std::string error;
  bool out_of_memory = false;
  bool operator==(const Attempt&) const = default;
};

/// Calls `run` with CUDA as the default device.
template <class Run>
Attempt attempt(const Run& run) {
  try {
    const OnDevice cuda(Device::cuda());
    return {run(), "", false};
  } catch (const OutOfMemory& error) {
    return {{}, error.what(), true};
  } catch (const Error& error) {
    return {{}, error.what(), false};
  }
}

inline Attempt attempt(const Model& model, const TrainingOptions& options) {
  return attempt([&] { return model.train(options); });
}

/// "[matmul] ...": an error that names its operation, in one line.
inline bool names_its_operation(const std::string& error) {
  const std::size_t end = error.find("] ");
  const bool named = error.starts_with('[') && end != std::string::npos && end > 1;
  if (error.starts_with("[memory] ") && error.find(" asked for ") < error.find('\n'))
    return error.find("\n  allocated ") != std::string::npos;  // the one report of several lines
  return named && error.find('\n') == std::string::npos;
}

}  // namespace reprise::test
