// reprise_bench_steps: whole training steps of GPTs and ResNets on a CUDA device, under several settings of
// segments and with and without a captured graph. The batch is on the device from the start; gradients are
// not clipped: as in the peers.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <fstream>
#include <iostream>
#include <optional>

#include "measure.h"
#include "reprise/error.h"
#include "reprise/kernels/device.h"

namespace {

using namespace reprise;
using namespace reprise::bench;

constexpr int kWarmUp = 5;  // two steps as usual, a capture, and what the libraries do once

struct Options {
  bool smoke = false, profile = false;
  int steps = 20;
  double seconds = 0;  // after which no further run is begun; 0: any
  std::string workloads = REPRISE_WORKLOADS, json, only, segments;
};

/// One run: a workload under one setting.
struct Plan {
  const nlohmann::json& workload;
  std::string setting;
  bool graph = false;

  std::int64_t of(const char* key) const { return workload.at(key).get<std::int64_t>(); }
  DType dtype() const { return parse_dtype(workload.at("dtype").get<std::string>()); }
};

/// Steps the model of a plan and times them. `make_loss` reads the same batch each time.
template <class Optimiser, class Loss>
nlohmann::json time_steps(const Options& options, const Plan& plan, std::int64_t items, Optimiser& optimiser,
                          Loss&& make_loss) {
  constexpr double kRate = 1e-4;
  Tensor loss;
  const auto forward_and_backward = [&] {
    optimiser.zero_grad();
    loss = Tensor();
    loss = make_loss();
    loss.backward();
  };
  std::optional<CapturedWork> graph;
  if (plan.graph) graph.emplace(default_device());
  bool first = true;
  const auto step = [&] {
    if (!graph || first) {  // `set_rates` wants to see gradients
      forward_and_backward();
      optimiser.step(kRate);
    } else {
      optimiser.set_rates(kRate);
      graph->run([&] {
        forward_and_backward();
        optimiser.step_with_rates(Tensor());
      });
    }
    first = false;
  };
  for (int i = 0; i < kWarmUp; ++i) step();
  synchronise();
  if (options.profile) {
    run_profiled(step);
    return {{"profiled", true}};
  }
  current_pool().reset_peaks();
  const std::int64_t waits_before = synchronisations();
  const Times times = time_on_device(step, 0, options.smoke ? 2 : options.steps);
  const MemoryStatistics memory = current_pool().statistics();
  nlohmann::json row{{"ms_median", times.median},
                     {"ms_min", times.least},
                     {"ms_max", times.most},
                     {"ms", times.all},
                     {"items_per_s", 1e3 * static_cast<double>(items) / times.median},
                     {"waits", synchronisations() - waits_before - 2},  // those of the measurement
                     {"loss", loss.template item<float>()}};
  const kernels::cuda::MemoryInfo device = kernels::cuda::memory_info(default_device().index);
  row["bytes_beside_pool"] =
      static_cast<std::int64_t>(device.total_bytes - device.free_bytes) - memory.reserved.current;
  if (!graph) {  // a graph's memory is its own
    row["peak_allocated_bytes"] = memory.all.allocated.peak;
    row["peak_activation_bytes"] = memory.activations.allocated.peak;
    row["peak_reserved_bytes"] = memory.reserved.peak;
  } else {
    row["captured"] = graph->captured();
    if (!graph->captured()) throw Error("[bench] the step was not captured: " + graph->obstacle());
  }
  return row;
}

nlohmann::json run_gpt(const Options& options, const Plan& plan) {
  nn::Gpt model({.vocabulary = plan.of("vocabulary"),
                 .context = plan.of("context"),
                 .layers = plan.of("layers"),
                 .heads = plan.of("heads"),
                 .width = plan.of("width"),
                 .loss_chunk = plan.workload.value("loss_chunk", std::int64_t{0})});
  if (plan.dtype() != DType::float32) nn::convert(model, plan.dtype());
  model.segments = checkpoint::parse_setting(plan.setting);
  nn::AdamW optimiser(nn::decay_matrices(nn::parameters(model), 0.1));
  const Shape shape{plan.of("batch"), plan.of("seq")};
  const Tensor ids = random_ids(shape, plan.of("vocabulary")),
               targets = random_ids(shape, plan.of("vocabulary"));
  return time_steps(options, plan, shape.numel(), optimiser, [&] { return model.loss(ids, targets); });
}

nlohmann::json run_resnet(const Options& options, const Plan& plan) {
  const std::int64_t batch = plan.of("batch"), side = plan.of("image"), classes = plan.of("classes");
  nn::Resnet model({.block = nn::BlockKind::bottleneck,
                    .stages = plan.workload.at("stages").get<std::vector<std::int64_t>>(),
                    .width = plan.of("width"),
                    .classes = classes,
                    .large_images = true,
                    .projection = true});
  if (plan.dtype() != DType::float32) nn::convert(model, plan.dtype());
  model.segments = checkpoint::parse_setting(plan.setting);
  nn::Sgd optimiser(nn::decay_matrices(nn::parameters(model), 5e-4), {.momentum = 0.9, .nesterov = true});
  const Tensor images = randn({batch, 3, side, side}, {.dtype = plan.dtype(), .channels_last = true});
  const Tensor labels = random_ids({batch}, classes);
  return time_steps(options, plan, batch, optimiser, [&] { return model.loss(images, labels); });
}

/// One run in a pool of its own.
nlohmann::json run_plan(const Options& options, const Plan& plan, bool gpt) {
  nlohmann::json row{{"name", plan.workload.at("name")}, {"segments", plan.setting}, {"graph", plan.graph}};
  try {
    manual_seed(1);
    row.update(gpt ? run_gpt(options, plan) : run_resnet(options, plan));
  } catch (const std::exception& error) {
    row["error"] = error.what();
  }
  set_default_pool(nullptr);
  return row;
}

void print_row(const nlohmann::json& row) {
  const auto name = row["name"].get<std::string>(), setting = row["segments"].get<std::string>();
  const char* how = row["graph"].get<bool>() ? "graph" : "";
  if (row.contains("error")) {
    fmt::print("{:<18} {:<7} {:<6} {}\n", name, setting, how, row["error"].get<std::string>());
    return;
  }
  if (row.contains("profiled")) {
    fmt::print("{:<18} {:<7} {:<6} profiled\n", name, setting, how);
    return;
  }
  const std::int64_t peak = row.value("peak_allocated_bytes", std::int64_t{0});
  fmt::print("{:<18} {:<7} {:<6} {:9.3f} ms  {:10.0f} /s  {}\n", name, setting, how,
             row["ms_median"].get<double>(), row["items_per_s"].get<double>(),
             peak > 0 ? format_bytes(peak) : "");
}

/// What a workload is run as: every setting, and the first one as a graph where it asks for that.
std::vector<Plan> plans_of(const nlohmann::json& workload) {
  std::vector<Plan> plans;
  for (const auto& setting : workload.at("settings")) plans.push_back({workload, setting.get<std::string>()});
  if (workload.at("graph").get<bool>()) plans.push_back({workload, plans.front().setting, true});
  return plans;
}

int run(const Options& options) {
  set_default_device(Device::cuda());
  const nlohmann::json workloads = read_workloads(options.workloads, options.smoke);
  nlohmann::json results{{"device", describe_device()}, {"rows", nlohmann::json::array()}};
  bool failed = false;
  const auto start = std::chrono::steady_clock::now();
  const auto late = [&] {
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return options.seconds > 0 && seconds > options.seconds;
  };
  for (const char* kind : {"gpt", "resnet"}) {
    for (const nlohmann::json& workload : workloads.at(kind)) {
      if (!options.only.empty() && options.only != workload.at("name").get<std::string>()) continue;
      for (const Plan& plan : plans_of(workload)) {
        if (!options.segments.empty() && options.segments != plan.setting) continue;
        if (options.profile && plan.graph) continue;  // its kernels are those of the step without
        nlohmann::json row{{"name", workload.at("name")}, {"segments", plan.setting}, {"graph", plan.graph}};
        if (late())
          row["error"] = "not begun: no time left";
        else
          row = run_plan(options, plan, kind == std::string_view("gpt"));
        print_row(row);
        failed |= row.contains("error");
        results["rows"].push_back(std::move(row));
        // Whoever ends this program early still has what was measured.
        if (!options.json.empty()) std::ofstream(options.json) << results.dump(1) << '\n';
      }
    }
  }
  if (results["rows"].empty())
    throw ValueError("[bench] no workload '" + options.only + "' with segments '" + options.segments + "'");
  return failed ? 1 : 0;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("Times training steps.", "reprise_bench_steps");
  app.add_flag("--smoke", options.smoke, "tiny models, to prove that all runs");
  app.add_flag("--profile", options.profile, "one step of each run in the range 'profiled', for a profiler");
  app.add_option("--steps", options.steps, "steps of each run that count")->check(CLI::Range(1, 100000));
  app.add_option("--seconds", options.seconds, "no run begins after this time");
  app.add_option("--workloads", options.workloads, "file of workloads");
  app.add_option("--json", options.json, "file for the results");
  app.add_option("--only", options.only, "one workload by its name");
  app.add_option("--segments", options.segments, "one setting of segments");
  CLI11_PARSE(app, argc, argv);
  try {
    return run(options);
  } catch (const std::exception& error) {
    std::cerr << "reprise_bench_steps: " << error.what() << '\n';
    return 2;
  }
}
