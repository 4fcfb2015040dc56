// The state of modules: loaded, converted, rolled back.
#include <limits>
#include <memory>
#include <thread>

#include "nn_support.h"

using namespace nn_test;

TEST_CASE("load_state copies by name", "[nn]") {
  manual_seed(1);
  nn::Resnet from({.stages = {1, 1}, .width = 4, .projection = true});
  from(randn({3, 3, 8, 8}));  // the buffers are no longer those of a fresh model
  nn::Resnet to({.stages = {1, 1}, .width = 4, .projection = true});
  std::vector<nn::NamedTensor> state = state_of(from);
  REQUIRE(digest_of(state_of(to)) != digest_of(state));
  std::reverse(state.begin(), state.end());
  nn::load_state(to, state);
  CHECK(digest_of(state_of(to)) == digest_of(state_of(from)));
  CHECK_FALSE(to.fc.weight.shares_storage_with(from.fc.weight));
  CHECK(to.fc.weight.requires_grad());
  CHECK(to.bn1.num_batches_tracked.item<std::int64_t>() == 1);
}

TEST_CASE("load_state changes nothing when a name or a shape is wrong", "[nn]") {
  manual_seed(1);
  nn::Gpt from(small_gpt());
  nn::Gpt to(small_gpt());
  const std::string before = digest_of(state_of(to));
  const std::vector<nn::NamedTensor> good = copy_of(state_of(from));
  const std::string last = good.back().name;

  std::vector<nn::NamedTensor> missing = good;
  missing.pop_back();
  CHECK_THROWS_WITH(nn::load_state(to, missing), Contains("[load_state]") && Contains(last));
  std::vector<nn::NamedTensor> unknown = good;
  unknown.push_back({"lm_head.bias", zeros({31})});
  CHECK_THROWS_WITH(nn::load_state(to, unknown), Contains("[load_state]") && Contains("lm_head.bias"));
  std::vector<nn::NamedTensor> wrong = good;
  wrong.back().tensor = zeros({17});
  CHECK_THROWS_AS(nn::load_state(to, wrong), ShapeError);
  CHECK_THROWS_WITH(nn::load_state(to, wrong), Contains(last) && Contains("17") && Contains("16"));
  std::vector<nn::NamedTensor> twice = good;
  twice.push_back({last, zeros({16})});
  CHECK_THROWS_WITH(nn::load_state(to, twice), Contains("[load_state]") && Contains(last));
  CHECK(digest_of(state_of(to)) == before);
}

TEST_CASE("load_state changes nothing when one tensor has no values or cannot be changed", "[nn]") {
  nn::BatchNorm2d norm(2);
  const std::string before = digest_of(state_of(norm));
  std::vector<nn::NamedTensor> good = copy_of(state_of(norm));
  for (nn::NamedTensor& entry : good) entry.tensor.fill_(7);
  for (std::size_t i = 0; i < good.size(); ++i) {
    CAPTURE(good[i].name);
    std::vector<nn::NamedTensor> dry = good;
    dry[i].tensor = zeros(good[i].tensor.shape(), {.device = Device::dry(parse_profile("h100"))});
    CHECK_THROWS_AS(nn::load_state(norm, dry), TapeError);
    CHECK_THROWS_WITH(nn::load_state(norm, dry),
                      Catch::Matchers::StartsWith("[load_state] '" + good[i].name + "' is on"));
    CHECK(digest_of(state_of(norm)) == before);
  }
  const Tensor bias = norm.bias, shown = zeros({1});
  norm.bias = expand(shown, {2});
  CHECK_THROWS_WITH(nn::load_state(norm, good),
                    Contains("[load_state]") && Contains("shows the same memory"));
  CHECK(shown.item<float>() == 0);
  norm.bias = bias;
  CHECK(digest_of(state_of(norm)) == before);
  nn::load_state(norm, good);
  CHECK(elements_of(norm.weight.detach().to(DType::float64)) == Doubles{7, 7});
}

TEST_CASE("a transaction that is not committed puts buffers and generator back", "[nn]") {
  manual_seed(9);
  nn::Resnet model({.stages = {1}, .width = 4});
  const std::vector<Tensor> buffers = nn::tensors_of(nn::named_buffers(model));
  const Tensor images = randn({2, 3, 6, 6});
  const std::string before = nn::digest(buffers);
  const Generator numbers = generator();
  const auto step = [&](bool commit) {
    nn::Transaction transaction(buffers);
    model(dropout(images, 0.5));
    CHECK(nn::digest(buffers) != before);
    CHECK_FALSE(generator() == numbers);
    if (commit) transaction.commit();
  };
  step(false);
  CHECK(nn::digest(buffers) == before);
  CHECK(generator() == numbers);
  step(true);
  CHECK(nn::digest(buffers) != before);
  CHECK_FALSE(generator() == numbers);
  Tensor turned = permute(arange(6).to(DType::float32).clone(), {0});
  turned = permute(reshape(turned, {2, 3}), {1, 0});  // a buffer in any memory order
  const std::vector<float> elements = turned.to_vector<float>();
  {
    nn::Transaction transaction({turned});
    turned.fill_(7);
  }
  CHECK(turned.to_vector<float>() == elements);
}

TEST_CASE("a transaction takes what it can put back, and puts back all it can", "[nn]") {
  Tensor base = zeros({1}), other = zeros({2});
  const Tensor recorded = leaf_values({2}) * 2.0;
  for (const Tensor& bad : {expand(base, {3}), recorded, Tensor()}) {
    CHECK_THROWS_WITH(nn::Transaction({other, bad}), Contains("[Transaction]"));
    CHECK_THROWS_WITH(nn::Transaction({bad, other}), Contains("[Transaction]"));
  }
  // What a segment records is on this thread's tape, and no other thread may change it.
  Tensor first = zeros({2}), last = zeros({2});
  const checkpoint::Segment segment("s");
  Tensor here = values({2}) + 1.0;
  auto transaction = std::make_unique<nn::Transaction>(std::vector{first, here, last});
  for (Tensor* buffer : {&first, &here, &last}) buffer->fill_(5);
  std::thread([&] { transaction.reset(); }).join();
  CHECK(elements_of(here) == Doubles{5, 5});
  CHECK(elements_of(first) == Doubles{0, 0});
  CHECK(elements_of(last) == Doubles{0, 0});
}

TEST_CASE("a converted model trains and evaluates in any type", "[nn]") {
  manual_seed(3);
  const Tensor images = randn({4, 3, 8, 8});
  nn::Resnet reference({.stages = {1, 1}, .width = 4, .projection = true});
  const std::vector<nn::NamedTensor> start = copy_of(state_of(reference));
  const auto train = [&](DType dtype) {
    nn::Resnet model({.stages = {1, 1}, .width = 4, .projection = true});
    nn::load_state(model, start);
    nn::convert(model, dtype);
    for (const Tensor& tensor : nn::parameters(model)) CHECK(tensor.dtype() == dtype);
    for (const nn::NamedTensor& entry : nn::named_buffers(model)) {
      CAPTURE(entry.name);
      const bool counts = entry.name.ends_with("num_batches_tracked");
      CHECK(entry.tensor.dtype() == (counts                    ? DType::int64
                                     : dtype == DType::float64 ? DType::float64
                                                               : DType::float32));
    }
    nn::Sgd sgd({{nn::parameters(model), 0.0}});
    for (int i = 0; i < 2; ++i) {
      sum(square(model(images.to(dtype)))).backward();
      sgd.step(1e-5);
      sgd.zero_grad();
    }
    CHECK(model.bn1.num_batches_tracked.item<std::int64_t>() == 2);
    nn::evaluate(model);
    Doubles all = elements_of(model(images.to(dtype)).detach().to(DType::float64));
    for (const double value : elements_of(model.bn1.running_var.to(DType::float64))) all.push_back(value);
    return all;
  };
  const Doubles exact = train(DType::float64);
  for (const auto& [dtype, tolerance] :
       {std::pair{DType::float32, 1e-4}, std::pair{DType::bfloat16, 0.1}, std::pair{DType::float16, 0.02}}) {
    CAPTURE(name_of(dtype));
    const Doubles got = train(dtype);
    REQUIRE(got.size() == exact.size());
    for (std::size_t i = 0; i < got.size(); ++i)
      CHECK(std::abs(got[i] - exact[i]) <= tolerance * (1 + std::abs(exact[i])));
  }
}

TEST_CASE("convert keeps values, gradients, names and what is shared, and goes back", "[nn]") {
  struct Shared {
    Tensor a = leaf_values({3}).to(DType::float32).detach().set_requires_grad(true), b = a,
           frozen = ones({2});
    Tensor buffer = full({2}, 0.5), same = buffer, ids = arange(2);
    void visit(nn::Visitor& v) {
      v.parameter("a", a);
      v.parameter("b", b);
      v.parameter("frozen", frozen);
      v.buffer("buffer", buffer);
      v.buffer("same", same);
      v.buffer("ids", ids);
    }
  } module;
  nn::name_tensors(module);
  module.a.set_grad(full({3}, 0.25));
  const Doubles values_before = elements_of(module.a.detach());
  CHECK_THROWS_AS(nn::convert(module, DType::int32), TypeError);
  CHECK(module.a.dtype() == DType::float32);
  for (const DType dtype : {DType::float64, DType::float32}) {
    nn::convert(module, dtype);
    CHECK(module.a.dtype() == dtype);
    CHECK(module.a.value() == module.b.value());
    CHECK(module.a.name() == "a");
    CHECK(module.a.requires_grad());
    CHECK_FALSE(module.frozen.requires_grad());
    CHECK(elements_of(module.a.detach()) == values_before);
    CHECK(elements_of(module.a.grad()) == Doubles(3, 0.25));
    CHECK(module.buffer.dtype() == dtype);
    CHECK(module.buffer.value() == module.same.value());
    CHECK(elements_of(module.buffer) == Doubles{0.5, 0.5});
    CHECK(module.ids.dtype() == DType::int64);
  }
}

TEST_CASE("convert keeps gradient hooks, there and back", "[nn]") {
  nn::Linear layer(2, 2), frozen(2, 2);
  std::string calls;
  layer.weight.on_gradient([&](const Tensor& gradient) {
    calls += 'a';
    return gradient * 0.0;
  });
  layer.weight.on_gradient([&](const Tensor& gradient) {
    calls += 'b';
    return gradient + 3.0;
  });
  frozen.weight.on_gradient([&](const Tensor&) {
    calls += 'c';
    return Tensor();
  });
  frozen.weight.set_requires_grad(false);
  for (const DType dtype : {DType::float64, DType::bfloat16, DType::float32, DType::float32}) {
    CAPTURE(name_of(dtype));
    for (nn::Linear* module : {&layer, &frozen}) nn::convert(*module, dtype);
    CHECK_FALSE(frozen.weight.requires_grad());
    for (Tensor* tensor : {&layer.weight, &layer.bias}) tensor->clear_grad();
    calls.clear();
    sum(layer(ones({1, 2}, {.dtype = dtype}))).backward();
    CHECK(calls == "ab");
    CHECK(layer.weight.grad().dtype() == dtype);
    CHECK(elements_of(layer.weight.grad().to(DType::float64)) == Doubles(4, 3));
    CHECK(elements_of(layer.bias.grad().to(DType::float64)) == Doubles(2, 1));
  }
  frozen.weight.set_requires_grad(true);
  calls.clear();
  sum(frozen(ones({1, 2}))).backward();
  CHECK(calls == "c");
}

TEST_CASE("convert refuses a member that was recorded, before anything is changed", "[nn]") {
  struct Derived {
    Tensor a = leaf_values({2, 3}), b = a * 2.0;
    void visit(nn::Visitor& v) {
      v.parameter("a", a);
      v.buffer("b", b);
    }
  } module;
  nn::name_tensors(module);
  CHECK_THROWS_AS(nn::convert(module, DType::float32), TapeError);
  CHECK_THROWS_WITH(nn::convert(module, DType::float32), Contains("[convert]") && Contains("detach()"));
  CHECK(module.a.dtype() == DType::float64);
  nn::convert(module, DType::float64);  // nothing to do
  CHECK_FALSE(module.b.is_leaf());
  module.b = module.b.detach();
  nn::convert(module, DType::float32);
  CHECK(module.b.dtype() == DType::float32);
}

namespace {
/// A table, and rows of it as a parameter of their own.
struct Rows {
  Tensor table = values({4, 2}).to(DType::float32).detach().set_requires_grad(true);
  Tensor rows = slice(table.detach(), 0, 1, 3).set_requires_grad(true);
  Tensor other = ones({2});
  void visit(nn::Visitor& v) {
    v.parameter("table", table);
    v.parameter("rows", rows);
    v.parameter("other", other);
  }
};
}  // namespace

TEST_CASE("members that share memory are loaded where they agree", "[nn]") {
  Rows module;
  const Doubles table{1, 2, 3, 4, 5, 6, 7, 8}, before = elements_of(module.table.detach());
  const auto load = [&](const Doubles& rows) {
    nn::load_state(module, {{"table", tensor<double>(table, {4, 2})},
                            {"rows", tensor<double>(rows, {2, 2})},
                            {"other", zeros({2})}});
  };
  CHECK_THROWS_WITH(load({3, 4, 5, 7}), Contains("[load_state] 'table' shares memory"));
  CHECK(elements_of(module.table.detach()) == before);
  CHECK(elements_of(module.other) == Doubles{1, 1});
  load({3, 4, 5, 6});
  CHECK(elements_of(module.table.detach()) == table);
  CHECK(elements_of(module.rows.detach()) == Doubles{3, 4, 5, 6});
  CHECK(elements_of(module.other) == Doubles{0, 0});
}

TEST_CASE("convert takes views of one memory that have no element in common", "[nn]") {
  struct Views {
    Tensor flat = values({4, 3}).to(DType::float32).detach();
    Tensor a = slice(flat, 1, 0, 2).set_requires_grad(true), b = slice(flat, 1, 2, 3).set_requires_grad(true);
    void visit(nn::Visitor& v) {
      v.parameter("a", a);
      v.parameter("b", b);
    }
  } module;
  const Doubles a = elements_of(module.a.detach().to(DType::float64));
  nn::convert(module, DType::float64);
  CHECK(elements_of(module.a.detach()) == a);
  CHECK(module.b.dtype() == DType::float64);
}

TEST_CASE("convert refuses to part members that share memory", "[nn]") {
  Rows module;
  CHECK_THROWS_WITH(nn::convert(module, DType::float64), Contains("[convert] members") && Contains("share"));
  CHECK(module.table.dtype() == DType::float32);
  nn::convert(module, DType::float32);
  CHECK(module.rows.shares_storage_with(module.table));
}

TEST_CASE("members are loaded from each other", "[nn]") {
  struct Pair {
    nn::Linear a{2, 2, false}, b{2, 2, false};
    void visit(nn::Visitor& v) {
      v.child("a", a);
      v.child("b", b);
    }
  } pair;
  const auto a = pair.a.weight.to_vector<float>(), b = pair.b.weight.to_vector<float>();
  nn::load_state(pair, {{"a.weight", pair.b.weight}, {"b.weight", pair.a.weight}});
  CHECK(pair.a.weight.to_vector<float>() == b);
  CHECK(pair.b.weight.to_vector<float>() == a);
}
