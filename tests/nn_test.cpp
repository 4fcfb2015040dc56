// Modules: the names and sizes of their state, their modes, their initialisation, and what they refuse.
#include <algorithm>
#include <cmath>
#include <limits>

#include "nn_support.h"

using namespace nn_test;

namespace {

template <class Module>
std::vector<std::string> names_of(Module& module) {
  std::vector<std::string> names;
  for (const nn::NamedTensor& entry : nn::named_parameters(module)) names.push_back(entry.name);
  return names;
}

struct Moments {
  double mean = 0, deviation = 0, largest = 0;
};
Moments moments_of(const Tensor& tensor) {
  Moments moments;
  const std::vector<float> elements = tensor.to_vector<float>();
  const auto n = static_cast<double>(elements.size());
  for (const double x : elements) {
    moments.mean += x / n;
    moments.largest = std::max(moments.largest, std::abs(x));
  }
  for (const double x : elements) moments.deviation += (x - moments.mean) * (x - moments.mean) / n;
  moments.deviation = std::sqrt(moments.deviation);
  return moments;
}

void check_normal(const Tensor& tensor, double deviation) {
  CAPTURE(tensor.name());
  const Moments moments = moments_of(tensor);
  const double error = 5 * deviation / std::sqrt(static_cast<double>(tensor.numel()));
  CHECK(std::abs(moments.mean) < error);
  CHECK(std::abs(moments.deviation - deviation) < error);
}

/// Parameters of a GPT whose head is the token table.
std::int64_t gpt_parameters(const nn::GptConfig& config) {
  const std::int64_t c = config.width;
  const std::int64_t block = 2 * c + (3 * c * c + 3 * c) + (c * c + c) + 2 * c + 2 * (4 * c * c) + 5 * c;
  return (config.vocabulary + config.context) * c + config.layers * block + 2 * c;
}

}  // namespace

TEST_CASE("the state of a GPT has the names and sizes of PyTorch's GPT-2", "[nn]") {
  nn::Gpt model({.vocabulary = 11, .context = 8, .layers = 2, .heads = 12, .width = 768});
  const std::vector<std::pair<std::string, Shape>> block{
      {"ln_1.weight", {768}},
      {"ln_1.bias", {768}},
      {"attn.c_attn.weight", {768, 2304}},
      {"attn.c_attn.bias", {2304}},
      {"attn.c_proj.weight", {768, 768}},
      {"attn.c_proj.bias", {768}},
      {"ln_2.weight", {768}},
      {"ln_2.bias", {768}},
      {"mlp.c_fc.weight", {768, 3072}},
      {"mlp.c_fc.bias", {3072}},
      {"mlp.c_proj.weight", {3072, 768}},
      {"mlp.c_proj.bias", {768}},
  };
  std::vector<std::pair<std::string, Shape>> expected{{"transformer.wte.weight", {11, 768}},
                                                      {"transformer.wpe.weight", {8, 768}}};
  for (const std::string number : {"0", "1"}) {
    for (const auto& [name, shape] : block)
      expected.emplace_back("transformer.h." + number + "." + name, shape);
  }
  expected.emplace_back("transformer.ln_f.weight", Shape{768});
  expected.emplace_back("transformer.ln_f.bias", Shape{768});

  const std::vector<nn::NamedTensor> parameters = nn::named_parameters(model);
  REQUIRE(parameters.size() == expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    CHECK(parameters[i].name == expected[i].first);
    CHECK(parameters[i].tensor.shape() == expected[i].second);
    CHECK(parameters[i].tensor.name() == expected[i].first);
    CHECK(parameters[i].tensor.requires_grad());
  }
  CHECK(nn::named_buffers(model).empty());
}

TEST_CASE("the state of a ResNet has the names and sizes of torchvision's", "[nn]") {
  nn::Resnet model({.stages = {1, 1}, .width = 8, .classes = 5, .projection = true});
  CHECK(names_of(model) == std::vector<std::string>{
                               "conv1.weight",
                               "bn1.weight",
                               "bn1.bias",
                               "layer1.0.conv1.weight",
                               "layer1.0.bn1.weight",
                               "layer1.0.bn1.bias",
                               "layer1.0.conv2.weight",
                               "layer1.0.bn2.weight",
                               "layer1.0.bn2.bias",
                               "layer2.0.conv1.weight",
                               "layer2.0.bn1.weight",
                               "layer2.0.bn1.bias",
                               "layer2.0.conv2.weight",
                               "layer2.0.bn2.weight",
                               "layer2.0.bn2.bias",
                               "layer2.0.downsample.0.weight",
                               "layer2.0.downsample.1.weight",
                               "layer2.0.downsample.1.bias",
                               "fc.weight",
                               "fc.bias",
                           });
  const std::vector<nn::NamedTensor> state = state_of(model);
  CHECK(find(state, "layer2.0.downsample.0.weight").shape() == Shape{16, 8, 1, 1});
  CHECK(find(state, "fc.weight").shape() == Shape{5, 16});

  const std::vector<nn::NamedTensor> buffers = nn::named_buffers(model);
  CHECK(buffers.size() == 3 * 6);
  CHECK(find(buffers, "bn1.running_mean").shape() == Shape{8});
  CHECK(find(buffers, "layer2.0.downsample.1.running_var").shape() == Shape{16});
  CHECK(find(buffers, "layer1.0.bn2.num_batches_tracked").dtype() == DType::int64);
  CHECK(find(buffers, "bn1.num_batches_tracked").rank() == 0);
  for (const nn::NamedTensor& buffer : buffers) CHECK_FALSE(buffer.tensor.requires_grad());
}

TEST_CASE("presets have as many parameters as published", "[nn]") {
  nn::Gpt small(small_gpt());
  REQUIRE(gpt_parameters(small_gpt()) == nn::count_elements(nn::parameters(small)));
  CHECK(gpt_parameters(nn::gpt_preset("gpt2")) == 124'439'808);
  CHECK(gpt_parameters(nn::gpt_preset("gpt2-medium")) == 354'823'168);
  CHECK(gpt_parameters(nn::gpt_preset("gpt2-large")) == 774'030'080);
  CHECK(gpt_parameters(nn::gpt_preset("gpt2-xl")) == 1'557'611'200);
  CHECK_THROWS_WITH(nn::gpt_preset("gpt3"), Contains("[gpt]") && Contains("'gpt3'") && Contains("gpt2-xl"));

  const auto count = [](const char* preset) {
    nn::Resnet model(nn::resnet_preset(preset));
    return nn::count_elements(nn::parameters(model));
  };
  CHECK(count("resnet20") == 269'722);
  CHECK(count("resnet56") == 853'018);
  CHECK(count("resnet18") == 11'689'512);
  CHECK(count("resnet50") == 25'557'032);
  CHECK_THROWS_WITH(nn::resnet_preset("resnet19"), Contains("[resnet]") && Contains("resnet152"));
}

TEST_CASE("sizes that do not fit together are refused", "[nn]") {
  const auto gpt = [](auto&& change) {
    nn::GptConfig config = small_gpt();
    change(config);
    return nn::Gpt(config);
  };
  CHECK_THROWS_AS(gpt([](auto& c) { c.heads = 3; }), ValueError);
  CHECK_THROWS_AS(gpt([](auto& c) { c.layers = 0; }), ValueError);
  CHECK_THROWS_AS(gpt([](auto& c) { c.vocabulary = -1; }), ValueError);
  CHECK_THROWS_AS(gpt([](auto& c) { c.dropout = 1.5; }), ValueError);
  CHECK_THROWS_AS(gpt([](auto& c) { c.dropout = -0.1; }), ValueError);
  CHECK_THROWS_AS(gpt([](auto& c) { c.dropout = NAN; }), ValueError);
  CHECK_THROWS_AS(nn::Resnet({.stages = {}}), ValueError);
  CHECK_THROWS_AS(nn::Resnet({.stages = {1, 0}}), ValueError);
  CHECK_THROWS_AS(nn::Resnet({.width = 0}), ValueError);
  CHECK_THROWS_AS(nn::Linear(0, 3), ValueError);
  CHECK_THROWS_AS(nn::Conv2d(4, 6, 3, 1, 1, false, 4), ValueError);

  nn::Gpt model(small_gpt());
  CHECK_THROWS_AS(model(small_ids(1, 13)), ShapeError);
  CHECK_THROWS_AS(model(tensor<std::int32_t>({1, 2}, {2})), ShapeError);
  nn::Resnet resnet({.stages = {1}, .width = 4});
  CHECK_THROWS_AS(resnet(zeros({2, 1, 8, 8})), ShapeError);
}

TEST_CASE("sizes that no memory could hold are refused by the layer's name", "[nn]") {
  const std::int64_t large = std::int64_t{1} << 32, huge = std::int64_t{1} << 62;
  const auto refused = [](auto&& make, const char* who) {
    CAPTURE(who);
    CHECK_THROWS_AS(make(), ShapeError);
    CHECK_THROWS_WITH(make(), Catch::Matchers::StartsWith(std::string("[") + who + "]"));
  };
  refused([&] { nn::Conv2d(1, 1, large); }, "Conv2d");
  refused([&] { nn::Conv2d(1, large, large / 2); }, "Conv2d");
  refused([&] { nn::Conv2d(huge, 4, 1); }, "shape");
  refused([&] { nn::Linear(large, large); }, "shape");
  refused([&] { nn::Embedding(large, large); }, "shape");
  refused([&] { nn::LayerNorm{huge}; }, "shape");
  refused([&] { nn::RmsNorm{huge}; }, "shape");
  refused([&] { nn::BatchNorm2d{huge}; }, "shape");
  refused([&] { nn::CausalSelfAttention({.heads = 1, .width = huge}); }, "gpt");
  refused([&] { nn::Mlp({.heads = 1, .width = huge}); }, "gpt");
  refused([&] { nn::Resnet({.block = nn::BlockKind::bottleneck, .stages = {1}, .width = huge}); }, "resnet");
  refused([&] { nn::Resnet({.stages = std::vector<std::int64_t>(64, 1), .width = 1}); }, "resnet");
  refused([&] { nn::Resnet({.stages = std::vector<std::int64_t>(70, 1), .width = 1}); }, "resnet");

  for (const std::int64_t size : {std::int64_t{0}, std::int64_t{-1}, INT64_MIN}) {
    const auto no_size = [](auto&& make, const char* who) {
      CAPTURE(who);
      CHECK_THROWS_AS(make(), ValueError);
      CHECK_THROWS_WITH(make(), Catch::Matchers::StartsWith(std::string("[") + who + "]"));
    };
    no_size([&] { nn::Linear(size, 3); }, "Linear");
    no_size([&] { nn::Linear(3, size); }, "Linear");
    no_size([&] { nn::Conv2d(1, 1, size); }, "Conv2d");
    no_size([&] { nn::Conv2d(1, 1, 3, size); }, "Conv2d");
    no_size([&] { nn::Conv2d(1, 1, 3, 1, std::min<std::int64_t>(size, -1)); }, "Conv2d");
    no_size([&] { nn::Conv2d(1, 1, 3, 1, 0, false, size); }, "Conv2d");
    no_size([&] { nn::Conv2d(1, 1, 3, 1, 0, false, 1, size); }, "Conv2d");
    no_size([&] { nn::BatchNorm2d{size}; }, "BatchNorm2d");
    no_size([&] { nn::LayerNorm{size}; }, "LayerNorm");
    no_size([&] { nn::RmsNorm{size}; }, "RmsNorm");
    no_size([&] { nn::Embedding(size, 3); }, "Embedding");
    no_size([&] { nn::Embedding(3, size); }, "Embedding");
  }
}

TEST_CASE("layers refuse numbers outside their range, and change nothing", "[nn]") {
  const double infinity = std::numeric_limits<double>::infinity();
  const Tensor x = values({3, 4, 2, 2}).to(DType::float32);
  for (const double bad : {-1e-5, -1.0, std::nan(""), infinity, -infinity}) {
    CAPTURE(bad);
    const auto refused = [](auto&& call, const char* what) {
      CHECK_THROWS_AS(call(), ValueError);
      CHECK_THROWS_WITH(call(), Contains(what));
    };
    for (const bool training : {true, false}) {
      for (const bool of_eps : {true, false}) {
        nn::BatchNorm2d norm(4);
        norm.training = training;
        (of_eps ? norm.eps : norm.momentum) = bad;
        const std::string before = digest_of(nn::named_buffers(norm));
        refused([&] { norm(x); }, of_eps ? "eps is" : "[BatchNorm2d] the momentum is");
        CHECK(digest_of(nn::named_buffers(norm)) == before);
      }
    }
    nn::LayerNorm layer(2);
    layer.eps = bad;
    refused([&] { layer(x); }, "[layer_norm] eps is");
    nn::RmsNorm rms(2);
    rms.eps = bad;
    refused([&] { rms(x); }, "[rms_norm] eps is");
    for (const bool training : {true, false})
      refused([&] { nn::Dropout{.p = bad, .training = training}(x); }, "[dropout] probability");
    refused([&] { nn::Embedding(3, 4, bad); }, "the deviation is");
    refused([&] { nn::normal_parameter({3}, bad); }, "[normal_parameter] the deviation is");
    refused([&] { nn::uniform_parameter({3}, bad); }, "[uniform_parameter] the bound is");
    const std::vector<Tensor> parameters{leaf_values({3})};
    refused(
        [&] {
          nn::AdamW(nn::decay_matrices({leaf_values({3, 3})}, bad));
        },
        "[AdamW] the weight decay is");
    refused([&] { nn::Sgd({{parameters, bad}}); }, "[Sgd] the weight decay is");
    refused([&] { nn::AdamW({{parameters, 0}}, {.beta1 = bad}); }, "[AdamW] beta1 is");
    refused([&] { nn::AdamW({{parameters, 0}}, {.beta2 = bad}); }, "[AdamW] beta2 is");
    refused([&] { nn::AdamW({{parameters, 0}}, {.eps = bad}); }, "[AdamW] eps is");
    refused([&] { nn::Sgd({{parameters, 0}}, {.momentum = bad}); }, "[Sgd] the momentum is");
  }
  for (const double momentum : {0.0, 1.0}) {  // the ends are in the range
    nn::BatchNorm2d norm(4);
    norm.momentum = momentum;
    norm.eps = 0;
    norm(x);
    const Doubles mean = elements_of(norm.running_mean.to(DType::float64));
    for (int c = 0; c < 4; ++c) {
      double expected = 0;
      for (const double value : elements_of(select(x, 1, c).to(DType::float64))) expected += value / 12;
      CHECK(mean[static_cast<std::size_t>(c)] == Approx(momentum * expected).margin(1e-6));
    }
  }
  nn::BatchNorm2d norm(4);
  norm.momentum = 1.5;
  CHECK_THROWS_WITH(norm(x), Contains("[BatchNorm2d] the momentum is 1.5"));
}

TEST_CASE("train and evaluate switch dropout and batch norm", "[nn]") {
  manual_seed(3);
  nn::Gpt gpt(small_gpt());
  const NoGrad no_grad;
  CHECK(digest_of(gpt(small_ids())) != digest_of(gpt(small_ids())));
  nn::evaluate(gpt);
  CHECK(digest_of(gpt(small_ids())) == digest_of(gpt(small_ids())));
  nn::train(gpt);
  CHECK(digest_of(gpt(small_ids())) != digest_of(gpt(small_ids())));
  nn::GptConfig everything = small_gpt();
  everything.dropout = 1;
  nn::Gpt silent(everything);
  for (const double logit : elements_of(silent(small_ids()).to(DType::float64))) CHECK(logit == 0);

  nn::Resnet resnet({.stages = {1, 1}, .width = 4, .projection = true});
  const Tensor images = randn({3, 3, 8, 8});
  const std::string fresh = digest_of(nn::named_buffers(resnet));
  nn::evaluate(resnet);
  const std::string scores = digest_of(resnet(images));
  CHECK(digest_of(resnet(images)) == scores);
  CHECK(digest_of(nn::named_buffers(resnet)) == fresh);
  nn::train(resnet);
  CHECK(digest_of(resnet(images)) != scores);
  CHECK(digest_of(nn::named_buffers(resnet)) != fresh);
}

TEST_CASE("parameters start as in the papers", "[nn]") {
  manual_seed(17);
  nn::Gpt gpt({.vocabulary = 100, .context = 64, .layers = 8, .heads = 2, .width = 64});
  check_normal(gpt.wte.weight, 0.02);
  check_normal(gpt.wpe.weight, 0.02);
  for (const nn::GptBlock& block : gpt.h) {
    check_normal(block.attn.c_attn.weight, 0.02);
    check_normal(block.mlp.c_fc.weight, 0.02);
    check_normal(block.attn.c_proj.weight, 0.02 / 4);  // sqrt(2 * 8) branches
    check_normal(block.mlp.c_proj.weight, 0.02 / 4);
    for (const Tensor& bias : {block.attn.c_attn.bias, block.attn.c_proj.bias, block.mlp.c_fc.bias,
                               block.mlp.c_proj.bias, block.ln_1.bias})
      check_constant(bias, 0);
    check_constant(block.ln_2.weight, 1);
  }
  CHECK(digest_of(gpt.h[0].mlp.c_fc.weight) != digest_of(gpt.h[1].mlp.c_fc.weight));

  check_normal(nn::Conv2d(7, 32, 3).weight, std::sqrt(2.0 / (32 * 9)));
  check_normal(nn::Conv2d(16, 32, 5, 1, 0, false, 4).weight, std::sqrt(2.0 / (8 * 25)));
  check_constant(nn::Conv2d(2, 3, 1, 1, 0, true).bias, 0);
  const nn::Linear linear(100, 50);
  const Moments moments = moments_of(linear.weight);
  CHECK(moments.largest <= 0.1);
  CHECK(moments.largest > 0.099);
  CHECK(std::abs(moments.deviation - 0.1 / std::sqrt(3.0)) < 0.002);
  check_normal(nn::Embedding(80, 40).weight, 1.0);

  manual_seed(17);
  CHECK(digest_of(nn::Gpt(gpt.config).h[7].mlp.c_fc.weight) == digest_of(gpt.h[7].mlp.c_fc.weight));
}

TEST_CASE("generate draws the same text again from the same seed", "[nn]") {
  manual_seed(5);
  nn::Gpt model(small_gpt());
  nn::evaluate(model);
  const std::vector<std::int32_t> prompt{3, 1, 4};
  const std::vector<std::int32_t> text = nn::generate(model, prompt, 20, 0.8, 7);  // beyond the context of 12
  REQUIRE(text.size() == 23);
  CHECK(std::vector<std::int32_t>(text.begin(), text.begin() + 3) == prompt);
  for (const std::int32_t id : text) CHECK((id >= 0 && id < 31));
  CHECK(nn::generate(model, prompt, 20, 0.8, 7) == text);
  CHECK(nn::generate(model, prompt, 20, 0.8, 8) != text);
  CHECK(nn::generate(model, prompt, 0, 0.8, 8) == prompt);

  for (const double temperature : {0.0, -1.0, std::nan("")})
    CHECK_THROWS_WITH(nn::generate(model, prompt, 1, temperature, 7), Contains("[generate] temperature"));
  CHECK_THROWS_WITH(nn::generate(model, {}, 1, 1.0, 7), Contains("[generate] the prompt"));
}

namespace {
/// A GPT whose logits are `logits` whatever it reads: the last norm gives the first unit vector, and the
/// token table holds them in its first column.
nn::Gpt gpt_of_logits(const std::vector<float>& logits, DType dtype = DType::float32) {
  nn::Gpt model({.vocabulary = static_cast<std::int64_t>(logits.size()),
                 .context = 4,
                 .layers = 1,
                 .heads = 1,
                 .width = 8});
  nn::convert(model, dtype);
  nn::evaluate(model);
  const NoGrad no_grad;
  model.ln_f.weight.fill_(0);
  model.ln_f.bias.fill_(0);
  select(model.ln_f.bias, 0, 0).fill_(1);
  select(model.wte.weight, 1, 0).copy_(tensor<float>(logits, {static_cast<std::int64_t>(logits.size())}));
  return model;
}
}  // namespace

TEST_CASE("generate draws from the softmax at any temperature above 0", "[nn]") {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const DType dtype : {DType::float32, DType::float64, DType::bfloat16}) {
    nn::Gpt model = gpt_of_logits({1, -2, 3, 2.5, -100}, dtype);
    for (const double temperature : {1e-3, 1e-30, 1e-37, 1e-38, 1e-39, 1e-41, 1e-300, 5e-324}) {
      CAPTURE(temperature, name_of(dtype));
      CHECK(nn::generate(model, {0}, 5, temperature, 1) == std::vector<std::int32_t>{0, 2, 2, 2, 2, 2});
    }
  }
  // 1/6, 2/6 and 3/6, and nothing of what has no chance; at twice the temperature their roots; without end
  // all that have a chance are alike.
  nn::Gpt model = gpt_of_logits({std::log(1.0F), std::log(2.0F), std::log(3.0F), -infinity});
  constexpr int kDraws = 3000;
  for (const double temperature : {1.0, 2.0, 1e300, static_cast<double>(infinity)}) {
    CAPTURE(temperature);
    const std::vector<std::int32_t> drawn = nn::generate(model, {0}, kDraws, temperature, 3);
    double all = 0;
    for (const double k : {1.0, 2.0, 3.0}) all += std::pow(k, 1 / temperature);
    for (std::int32_t id = 0; id < 4; ++id) {
      const double p = id == 3 ? 0 : std::pow(1.0 + id, 1 / temperature) / all;
      const auto times = static_cast<double>(std::count(drawn.begin() + 1, drawn.end(), id));
      CHECK(std::abs(times - p * kDraws) <= 4 * std::sqrt(p * (1 - p) * kDraws));
    }
  }
  for (const std::vector<float>& logits :
       {std::vector<float>{0, 1, std::nanf("")}, {0, std::nanf(""), 1}, {0, 1, infinity}}) {
    nn::Gpt broken = gpt_of_logits(logits);
    CHECK_THROWS_WITH(nn::generate(broken, {0}, 1, 1.0, 7),
                      Contains("[generate] the model's logits are not finite"));
  }
}
