// What must be true of every operation, checked for every case of the table.
#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>

#include "kernel_tensor.h"
#include "op_run.h"
#include "poisoned_pool.h"
#include "reprise/context.h"

namespace reprise::op_test {
namespace {

using kernels::ThreadsScope;

constexpr DType kFloatingTypes[] = {DType::float64, DType::float32, DType::bfloat16, DType::float16};
constexpr DType kOtherTypes[] = {DType::int32, DType::int64, DType::boolean};

bool takes(const Cases& operation, DType dtype) { return (operation.dtypes & bit_of(dtype)) != 0; }
bool has_gradient(const Cases& operation, const Case& c) {
  return operation.table->backward != nullptr && c.has_derivative && differentiable_inputs(c) != 0;
}

/// Runs `check(operation, case)` over the table: a section for each operation, all memory poisoned and
/// guarded.
template <class Check>
void for_each_case(Check&& check) {
  for (const Cases& operation : all_cases()) {
    DYNAMIC_SECTION(operation.table->name) {
      const PoisonedPool pool;
      for (const Case& c : operation.cases) {
        INFO("case: " << c.label);
        check(operation, c);
        CHECK(pool.books().overruns == 0);
        CHECK(pool.books().pieces_out == 0);
      }
    }
  }
}

/// What a tensor of this type shows of a value.
double as_held(double value, DType dtype) {
  if (dtype == DType::boolean) return value != 0 ? 1 : 0;
  return is_floating(dtype) ? value : std::trunc(value);
}

void check_values(const Case& c, const Tensors& outputs, const Arrays& values, DType dtype) {
  const Arrays wanted = c.formula(rounded(c, values, dtype));
  REQUIRE(outputs.size() == wanted.size());
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    Array want = wanted[i];
    for (double& value : want.values) value = as_held(value, outputs[i].dtype());
    const bool exact = !is_floating(dtype) || !is_floating(outputs[i].dtype());
    const double allowed = exact ? 0 : c.slack * std::max(tolerance(dtype), tolerance(outputs[i].dtype()));
    INFO("output " << i);
    CHECK(difference(read(outputs[i]), want, allowed) == "");
  }
}

/// The newest node of an operation on this thread's tape, if there is one.
const Node* newest_node(const OpTable& table) {
  const Node* node = context().tape->newest;
  while (node != nullptr && node->table != &table) node = node->older;
  return node;
}

/// Inputs that want gradients as the node sees them.
GradMask wanting_inputs(const Node& node) {
  GradMask mask = 0;
  for (std::uint32_t i = 0; i < node.n_inputs; ++i) mask |= GradMask{node.inputs[i]->requires_grad} << i;
  return mask;
}

/// Runs the case on results of other operations that want gradients; the inputs themselves are let go.
Tensors call_on_results(const Case& c, const Arrays& values, DType dtype, GradMask wanted) {
  Tensors inputs = make_inputs(c, values, dtype, wanted);
  for (Tensor& input : inputs) {
    if (input.requires_grad()) input = input * 1.0;
  }
  return call(c, std::move(inputs));
}

/// True when the operation saves what a segment can drop.
bool saves_intermediates(const Cases& operation, const Case& c, const Arrays& values, DType dtype) {
  const Tensors outputs = call_on_results(c, values, dtype, ~GradMask{0});
  const Node* node = newest_node(*operation.table);
  if (node == nullptr) return false;
  bool some = node->saves.outputs != 0;
  for (std::uint32_t i = 0; i < node->n_inputs; ++i)
    some |= (node->saves.inputs >> i & 1u) && node->inputs[i]->producer != nullptr;
  return some;
}

void check_saved(const OpTable& table, const Node& node, bool holds_inputs) {
  CHECK(node.needs == wanting_inputs(node));
  CHECK(node.saves == table.saves(node.op, node.needs));
  const Saves whole = table.saves(node.op, ~GradMask{0});
  CHECK((node.saves.inputs & ~whole.inputs) == 0);
  CHECK((node.saves.outputs & ~whole.outputs) == 0);
  if (holds_inputs) return;
  for (std::uint32_t i = 0; i < node.n_inputs; ++i) {
    INFO("input " << i << " of the node");
    if (node.inputs[i]->producer != nullptr)
      CHECK((node.inputs[i]->storage != nullptr) == ((node.saves.inputs >> i & 1u) != 0));
  }
  for (std::uint32_t i = node.n_visible(); i < node.n_outputs; ++i) {
    INFO("auxiliary " << i << " of the node");
    CHECK((node.outputs[i]->storage != nullptr) == ((node.saves.outputs >> i & 1u) != 0));
  }
}

void check_refused(const Refusal& refusal) {
  INFO("refusal: " << refusal.label);
  try {
    refusal.call();
    FAIL_CHECK("was not refused");
  } catch (const Error& error) {
    CHECK(typeid(error) == *refusal.type);
    CHECK_THAT(error.what(), Catch::Contains(refusal.fragment) && Catch::StartsWith("["));
  }
}

}  // namespace

TEST_CASE("the library's operations follow strides themselves, and run on a dry device", "[unit]") {
  for (const Cases& operation : all_cases()) {
    CAPTURE(operation.table->name);
    CHECK(operation.table->any_layout);
    CHECK(operation.table->only_kernels);
  }
}

TEST_CASE("every operation has six cases and two refusals", "[ops]") {
  for (const Cases& operation : all_cases()) {
    INFO(operation.table->name);
    CHECK(operation.cases.size() >= 6);
    CHECK(operation.refusals.size() >= 2);
    CHECK(operation.speed.size() >= 1);
    for (const Case& c : operation.cases) {
      INFO(c.label);
      CHECK(std::count_if(operation.cases.begin(), operation.cases.end(),
                          [&](const Case& other) { return other.label == c.label; }) == 1);
    }
  }
}

TEST_CASE("a case runs the operation that it is for", "[ops]") {
  for_each_case([](const Cases& operation, const Case& c) {
    const checkpoint::Segment recording("case");
    const Tensors outputs =
        call(c, make_inputs(c, input_values(operation, c, DType::float64), DType::float64));
    CHECK(newest_node(*operation.table) != nullptr);
    if (!c.composed) CHECK(generator().next == (operation.table->random ? 1 : 0));
    for (const Tensor& output : outputs)
      CHECK((c.composed || output.value()->producer->table == operation.table));
  });
}

TEST_CASE("values are those of the formula", "[ops]") {
  for_each_case([](const Cases& operation, const Case& c) {
    for (const DType dtype : kFloatingTypes) {
      INFO(name_of(dtype));
      const Arrays values = input_values(operation, c, dtype);
      check_values(c, call(c, make_inputs(c, values, dtype)), values, dtype);
    }
    if (c.composed) return;  // the other operations may not take what this one takes
    for (const DType dtype : kOtherTypes) {
      INFO(name_of(dtype));
      const Arrays values = input_values(operation, c, dtype);
      const Tensors inputs = make_inputs(c, values, dtype);
      if (takes(operation, dtype))
        check_values(c, call(c, inputs), values, dtype);
      else
        CHECK_THROWS_AS(call(c, inputs), TypeError);
    }
  });
}

TEST_CASE("views share memory, other results do not", "[ops]") {
  for_each_case([](const Cases& operation, const Case& c) {
    if (c.composed) return;
    const Tensors inputs = make_inputs(c, input_values(operation, c, DType::float32), DType::float32);
    for (const Tensor& output : call(c, inputs)) {
      if (output.numel() > 0)
        CHECK(output.shares_storage_with(inputs[0]) == (operation.table->view != nullptr));
    }
  });
}

TEST_CASE("gradients in every type agree with those in float64", "[ops]") {
  for_each_case([](const Cases& operation, const Case& c) {
    if (!has_gradient(operation, c)) return;
    for (const DType dtype : kFloatingTypes) {
      INFO(name_of(dtype));
      const Arrays values = rounded(c, input_values(operation, c, dtype), dtype);
      const RunResult got = run(c, values, {.dtype = dtype});
      const RunResult want = run(c, values);
      for (std::size_t i = 0; i < c.inputs.size(); ++i) {
        INFO("gradient of input " << i);
        REQUIRE(got.gradients[i].defined() == c.inputs[i].takes_gradient());
        if (!got.gradients[i].defined()) continue;
        CHECK(got.gradients[i].dtype() == dtype);
        const kernels::View view = view_of(*got.gradients[i].value());
        CHECK((c.inputs[i].order == Order::channels_last ? view.is_channels_last() : view.is_contiguous()));
        const Array gradient = read(want.gradients[i]);
        CHECK(std::none_of(gradient.values.begin(), gradient.values.end(),
                           [](double g) { return std::isnan(g); }));
        CHECK(difference(read(got.gradients[i]), gradient, c.slack * gradient_tolerance(dtype)) == "");
      }
    }
  });
}

TEST_CASE("both libraries behind products give the values of the formula", "[ops]") {
  using kernels::CpuLibrary;
  struct Choice {
    explicit Choice(CpuLibrary library) { kernels::use_cpu_library(library); }
    ~Choice() { kernels::use_cpu_library(CpuLibrary::automatic); }
  };
  for_each_case([](const Cases& operation, const Case& c) {
    if (!operation.by_a_library) return;
    for (const CpuLibrary library : {CpuLibrary::onednn, CpuLibrary::eigen}) {
      INFO((library == CpuLibrary::eigen ? "Eigen" : "oneDNN"));
      const Choice choice(library);
      for (const DType dtype : kFloatingTypes) {
        INFO(name_of(dtype));
        const Arrays values = input_values(operation, c, dtype);
        const RunResult result = run(c, values, {.dtype = dtype, .backwards = 2});
        check_values(c, result.outputs, values, dtype);
        const RunResult want = run(c, rounded(c, values, dtype), {.backwards = 2});
        for (std::size_t i = 0; i < c.inputs.size(); ++i) {
          if (!c.inputs[i].takes_gradient()) continue;
          INFO("gradient of input " << i);
          CHECK(difference(read(result.gradients[i]), read(want.gradients[i]),
                           c.slack * gradient_tolerance(dtype)) == "");
        }
      }
    }
  });
}

TEST_CASE("only wanted inputs get gradients, and what is saved follows", "[ops]") {
  for_each_case([](const Cases& operation, const Case& c) {
    if (!has_gradient(operation, c) || c.inputs.size() > 5) return;
    const Arrays values = input_values(operation, c, DType::float64);
    const GradMask all = differentiable_inputs(c);
    const Tensors whole = run(c, values).gradients;
    for (GradMask wanted = 0; wanted <= all; ++wanted) {
      if ((wanted & ~all) != 0) continue;
      INFO("wanted inputs, as bits: " << wanted);
      const Tensors part = run(c, values, {.wanted = wanted}).gradients;
      for (std::size_t i = 0; i < c.inputs.size(); ++i) {
        INFO("input " << i);
        REQUIRE(part[i].defined() == ((wanted >> i & 1u) != 0));
        if (part[i].defined()) CHECK(difference(read(part[i]), read(whole[i]), 1e-12) == "");
      }
      const Tensors outputs = call_on_results(c, values, DType::float64, wanted);
      const Node* node = newest_node(*operation.table);
      if (!c.composed) REQUIRE((node != nullptr) == (wanted != 0));
      if (node != nullptr) check_saved(*operation.table, *node, c.composed);
    }
  });
}

TEST_CASE("gradients are written, then added", "[ops]") {
  for_each_case([](const Cases& operation, const Case& c) {
    if (!has_gradient(operation, c)) return;
    for (const DType dtype : {DType::float64, DType::float32, DType::bfloat16}) {
      INFO(name_of(dtype));
      const Arrays values = input_values(operation, c, dtype);
      const RunResult once = run(c, values, {.dtype = dtype});
      const RunResult twice = run(c, values, {.dtype = dtype, .backwards = 2});
      const double allowed = dtype == DType::float64 ? 1e-13 : dtype == DType::float32 ? 1e-6 : 1e-2;
      for (std::size_t i = 0; i < c.inputs.size(); ++i) {
        if (!once.gradients[i].defined()) continue;
        Array want = read(once.gradients[i]);
        for (double& value : want.values) value *= 2;
        INFO("gradient of input " << i);
        CHECK(difference(read(twice.gradients[i]), want, allowed) == "");
      }
    }
  });
}

TEST_CASE("gradients do not depend on the memory order of what comes in", "[ops]") {
  for_each_case([](const Cases& operation, const Case& c) {
    if (!has_gradient(operation, c)) return;
    const Arrays values = input_values(operation, c, DType::float64);
    const RunResult dense = run(c, values);
    for (const Order order : {Order::permuted, Order::gaps}) {
      INFO("memory order " << static_cast<int>(order));
      const RunResult other = run(c, values, {.cotangent_order = order});
      for (std::size_t i = 0; i < c.inputs.size(); ++i) {
        if (!dense.gradients[i].defined()) continue;
        INFO("gradient of input " << i);
        CHECK(difference(read(other.gradients[i]), read(dense.gradients[i]), 1e-12) == "");
      }
    }
  });
}

TEST_CASE("results are the same bits in every run and on any number of threads", "[ops]") {
  for_each_case([](const Cases& operation, const Case& c) {
    for (const DType dtype : kFloatingTypes) {
      INFO(name_of(dtype));
      const Arrays values = input_values(operation, c, dtype);
      const RunResult first = run(c, values, {.dtype = dtype});
      CHECK(difference_in_bits(first, run(c, values, {.dtype = dtype})) == "");
      const bool by_eigen = dtype == DType::float64 || kernels::matmul_library().substr(0, 5) == "Eigen";
      if (operation.by_a_library && by_eigen) continue;
      for (const int threads : {1, 2}) {
        INFO(threads << " threads");
        const ThreadsScope scope(threads);
        CHECK(difference_in_bits(first, run(c, values, {.dtype = dtype})) == "");
      }
    }
  });
}

TEST_CASE("replays give the same bits", "[ops]") {
  for_each_case([](const Cases& operation, const Case& c) {
    for (const DType dtype : kFloatingTypes) {
      INFO(name_of(dtype));
      const Arrays values = input_values(operation, c, dtype);
      const RunResult kept = run(c, values, {.dtype = dtype, .intermediates = true});
      const RunResult kept_twice = run(c, values, {.dtype = dtype, .intermediates = true, .backwards = 2});
      const bool needs_replay = saves_intermediates(operation, c, values, dtype);
      for (const checkpoint::Drop drop : {checkpoint::Drop::everything, checkpoint::Drop::cheap}) {
        INFO((drop == checkpoint::Drop::cheap ? "what is cheap was dropped" : "everything was dropped"));
        reset_tape_counters();
        const RunResult replayed = run(c, values, {.dtype = dtype, .intermediates = true, .segment = drop});
        CHECK(difference_in_bits(kept, replayed) == "");
        if (drop == checkpoint::Drop::everything && !c.composed)
          CHECK((tape_counters().replayed_nodes > 0) == needs_replay);
        const RunOptions twice{.dtype = dtype, .intermediates = true, .segment = drop, .backwards = 2};
        CHECK(difference_in_bits(kept_twice, run(c, values, twice)) == "");
        const RunOptions from_before{
            .dtype = dtype, .intermediates = true, .segment = drop, .inputs_before_segment = true};
        CHECK(difference_in_bits(kept, run(c, values, from_before)) == "");
      }
    }
  });
}

TEST_CASE("what does not fit is refused", "[ops]") {
  for (const Cases& operation : all_cases()) {
    DYNAMIC_SECTION(operation.table->name) {
      const std::int64_t nodes_before = live_nodes();
      const PoisonedPool pool;
      for (const Refusal& refusal : operation.refusals) check_refused(refusal);
      CHECK(pool.books().overruns == 0);
      CHECK(pool.books().pieces_out == 0);
      CHECK(live_nodes() == nodes_before);
    }
  }
}

}  // namespace reprise::op_test
