// reprise_bench_cuda: every family of CUDA kernels through its contract, beside a copy and a matrix product.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <fstream>
#include <iostream>

#include "kernel_cases.h"
#include "reprise/error.h"

namespace {

using namespace reprise;
using namespace reprise::bench;

struct Options {
  bool smoke = false, profile = false;
  std::string workloads = REPRISE_WORKLOADS, json, only;
};

struct Family {
  const char* name;
  void (*measure)(Suite&);
};

constexpr Family kFamilies[] = {
    {"elementwise", measure_elementwise},
    {"copy", measure_copies},
    {"reduction", measure_reductions},
    {"norm", measure_row_norms},
    {"batch norm", measure_batch_norm},
    {"softmax", measure_softmax},
    {"cross entropy", measure_cross_entropy},
    {"embedding", measure_embedding},
    {"dropout", measure_dropout},
    {"optimiser", measure_optimiser},
    {"attention", measure_attention},
    {"products", measure_products},
    {"convolution", measure_convolutions},
};

/// Whoever ends this program early still has what was measured.
void write(const Options& options, const Suite& suite) {
  if (options.json.empty()) return;
  nlohmann::json results = suite.results();
  results["device"] = describe_device();
  std::ofstream(options.json) << results.dump(1) << '\n';
}

int run(const Options& options) {
  set_default_device(Device::cuda());
  manual_seed(1);
  const NoGrad no_grad;
  Suite suite({options.smoke, options.profile}, read_workloads(options.workloads, options.smoke));
  bool failed = false, found = options.only.empty();
  suite.measure_copy();
  for (const Family& family : kFamilies) {
    if (!options.only.empty() && options.only != family.name) continue;
    found = true;
    try {
      family.measure(suite);
    } catch (const std::exception& error) {  // such as no memory for its tensors
      failed = true;
      std::cerr << fmt::format("reprise_bench_cuda: {}: {}\n", family.name, error.what());
    }
    current_pool().release_cached();
    write(options, suite);
  }
  if (!found) {
    std::string names;
    for (const Family& family : kFamilies) names += (names.empty() ? "" : ", ") + std::string(family.name);
    throw ValueError(fmt::format("[bench] no family '{}'; there are {}", options.only, names));
  }
  return failed || suite.failed() ? 1 : 0;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("Measures every family of CUDA kernels.", "reprise_bench_cuda");
  app.add_flag("--smoke", options.smoke, "tiny sizes, to prove that all runs");
  app.add_flag("--profile", options.profile, "each kernel once in the range 'profiled', for a profiler");
  app.add_option("--workloads", options.workloads, "file of workloads");
  app.add_option("--json", options.json, "file for the results");
  app.add_option("--only", options.only, "one family");
  CLI11_PARSE(app, argc, argv);
  try {
    return run(options);
  } catch (const std::exception& error) {
    std::cerr << "reprise_bench_cuda: " << error.what() << '\n';
    return 2;
  }
}
