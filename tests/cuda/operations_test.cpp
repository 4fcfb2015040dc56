// Every operation of the table on CUDA: beside the CPU, and replayed.
#include <catch2/catch.hpp>

#include "op_run.h"
#include "reprise/device.h"

namespace reprise::op_test {
namespace {

constexpr DType kTypes[] = {DType::float32, DType::bfloat16, DType::float16};
constexpr DType kOthers[] = {DType::int32, DType::int64, DType::boolean};

bool takes(const Cases& operation, DType dtype) { return (operation.dtypes & bit_of(dtype)) != 0; }

/// How far CUDA may be from the CPU, relative to 1 + the value's size.
double allowed(DType dtype) {
  return dtype == DType::float32 || dtype == DType::float64 ? 1e-5 : tolerance(dtype);
}

template <class Check>
void for_each_case(Check&& check) {
  for (const Cases& operation : all_cases()) {
    DYNAMIC_SECTION(operation.table->name) {
      for (const Case& c : operation.cases) {
        INFO("case: " << c.label);
        check(operation, c);
      }
      synchronise(Device::cuda());
    }
  }
}

void check_close(const char* what, const Tensors& on_cuda, const Tensors& on_cpu, double slack) {
  REQUIRE(on_cuda.size() == on_cpu.size());
  for (std::size_t i = 0; i < on_cpu.size(); ++i) {
    INFO(what << " " << i);
    REQUIRE(on_cuda[i].defined() == on_cpu[i].defined());
    if (!on_cpu[i].defined()) continue;
    CHECK(on_cuda[i].dtype() == on_cpu[i].dtype());
    CHECK(difference(read(on_cuda[i]), read(on_cpu[i]), slack * allowed(on_cpu[i].dtype())) == "");
  }
}

RunResult run_on(Device device, const Case& c, const Arrays& values, const RunOptions& options) {
  const OnDevice there(device);
  return run(c, values, options);
}

}  // namespace

TEST_CASE("every operation gives on CUDA what it gives on the CPU", "[cuda][ops]") {
  for_each_case([](const Cases& operation, const Case& c) {
    for (const DType dtype : kTypes) {
      if (!takes(operation, dtype)) continue;
      INFO(name_of(dtype));
      const Arrays values = input_values(operation, c, dtype);
      const RunOptions options{.dtype = dtype};
      const RunResult cpu = run_on(Device::cpu(), c, values, options);
      const RunResult cuda = run_on(Device::cuda(), c, values, options);
      check_close("output", cuda.outputs, cpu.outputs, c.slack);
      check_close("gradient", cuda.gradients, cpu.gradients, c.slack);
    }
    for (const DType dtype : kOthers) {
      if (!takes(operation, dtype) || c.composed) continue;
      INFO(name_of(dtype));
      const Arrays values = input_values(operation, c, dtype);
      check_close("output", run_on(Device::cuda(), c, values, {.dtype = dtype}).outputs,
                  run_on(Device::cpu(), c, values, {.dtype = dtype}).outputs, 1);
    }
  });
}

TEST_CASE("a replay on CUDA gives the bits of the first run", "[cuda][ops]") {
  for_each_case([](const Cases& operation, const Case& c) {
    if (operation.table->backward == nullptr || differentiable_inputs(c) == 0) return;
    for (const DType dtype : {DType::float32, DType::bfloat16}) {
      if (!takes(operation, dtype)) continue;
      INFO(name_of(dtype));
      const Arrays values = input_values(operation, c, dtype);
      RunOptions options{.dtype = dtype, .intermediates = true};
      const RunResult kept = run_on(Device::cuda(), c, values, options);
      options.segment = checkpoint::Drop::everything;
      CHECK(difference_in_bits(kept, run_on(Device::cuda(), c, values, options)) == "");
    }
  });
}

TEST_CASE("a tensor goes to CUDA and comes back", "[cuda]") {
  const Tensor here = arange(1000, {.dtype = DType::float32}).set_name("here");
  const Tensor there = here.to(Device::cuda());
  CHECK(there.device() == Device::cuda());
  CHECK(there.to_vector<float>() == here.to_vector<float>());
  CHECK(there.to(Device::cpu()).to_vector<float>() == here.to_vector<float>());
  CHECK_THROWS_WITH(here + there, Catch::Contains("[add] inputs are on different devices: cpu and cuda:0"));
  // Gradients travel back; larger than one piece of staging memory, and not a multiple of it.
  Tensor large = zeros({(16 << 20) / 4 + 12345}).set_requires_grad(true);
  (large.to(Device::cuda()) * 3.0).backward(full(large.shape(), 2.0, {.device = Device::cuda()}));
  CHECK(large.grad().device() == Device::cpu());
  CHECK(large.grad().to_vector<float>() == std::vector<float>(static_cast<std::size_t>(large.numel()), 6.0f));
}

TEST_CASE("an id outside the table is found when the device is waited for", "[cuda]") {
  const OnDevice cuda(Device::cuda());
  const Tensor weight = ones({50, 8});
  const Tensor bad = embedding(weight, tensor<std::int64_t>({3, 99, 7}, {3}));
  CHECK_THROWS_WITH(bad.to_vector<float>(), Catch::Contains("[embedding] id 99 is outside [0, 50)"));
  CHECK(embedding(weight, tensor<std::int64_t>({3}, {1})).to_vector<float>() == std::vector<float>(8, 1.0f));
  const Tensor loss = cross_entropy(ones({2, 5}), tensor<std::int64_t>({1, -4}, {2}));
  CHECK_THROWS_WITH(loss.item<float>(), Catch::Contains("[cross_entropy] target -4 is outside [0, 5)"));
}

}  // namespace reprise::op_test
