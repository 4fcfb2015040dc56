#include "reprise/nn/resnet.h"

#include <fmt/format.h>

#include "reprise/checked.h"

namespace reprise::nn {
namespace {

struct Preset {
  std::string_view name;
  BlockKind block;
  std::vector<std::int64_t> stages;
  bool large_images;
};

const std::vector<Preset>& presets() {
  static const std::vector<Preset> all{
      {"resnet20", BlockKind::basic, {3, 3, 3}, false},
      {"resnet32", BlockKind::basic, {5, 5, 5}, false},
      {"resnet56", BlockKind::basic, {9, 9, 9}, false},
      {"resnet1001", BlockKind::pre_activation, {111, 111, 111}, false},
      {"resnet18", BlockKind::basic, {2, 2, 2, 2}, true},
      {"resnet34", BlockKind::basic, {3, 4, 6, 3}, true},
      {"resnet50", BlockKind::bottleneck, {3, 4, 6, 3}, true},
      {"resnet101", BlockKind::bottleneck, {3, 4, 23, 3}, true},
      {"resnet152", BlockKind::bottleneck, {3, 8, 36, 3}, true},
  };
  return all;
}

/// Channels that a block of `kind` gives for a stage of `width`.
std::int64_t outputs(BlockKind kind, std::int64_t width) {
  return kind == BlockKind::basic ? width : 4 * width;
}

std::string block_name(std::size_t stage, std::size_t i) { return fmt::format("layer{}.{}", stage + 1, i); }

}  // namespace

ResnetConfig resnet_preset(std::string_view name) {
  std::string names;
  for (const Preset& preset : presets()) {
    names += (names.empty() ? "" : ", ") + std::string(preset.name);
    if (preset.name != name) continue;
    ResnetConfig config;
    config.block = preset.block;
    config.stages = preset.stages;
    config.large_images = preset.large_images;
    config.projection = preset.large_images || preset.block == BlockKind::pre_activation;
    config.width = preset.large_images ? 64 : 16;
    config.classes = preset.large_images ? 1000 : 10;
    return config;
  }
  throw ValueError(fmt::format("[resnet] no preset '{}'; there are {}", name, names));
}

void check(const ResnetConfig& config) {
  if (config.stages.empty()) throw ValueError("[resnet] no stages; give at least one");
  for (const auto& [what, value] :
       {std::pair{"the width", config.width}, std::pair{"the number of classes", config.classes},
        std::pair{"the number of image channels", config.channels}}) {
    if (value < 1) throw ValueError(fmt::format("[resnet] {} is {}; it must be at least 1", what, value));
  }
  std::int64_t widest = checked::multiply("resnet", outputs(config.block, 1), config.width);
  for (std::size_t stage = 1; stage < config.stages.size(); ++stage)
    widest = checked::multiply("resnet", widest, 2);
  for (const std::int64_t blocks : config.stages) {
    if (blocks < 1) throw ValueError(fmt::format("[resnet] a stage of {} blocks; give at least 1", blocks));
  }
}

Tensor Shortcut::operator()(const Tensor& x) {
  const ModuleScope scope("downsample");
  if (conv) {
    Tensor y = (*conv)(x);
    return norm ? (*norm)(std::move(y)) : y;
  }
  Tensor y = x;
  if (stride > 1) y = slice(slice(y, 2, 0, y.size(2), stride), 3, 0, y.size(3), stride);
  return extra_channels > 0 ? pad(y, 1, extra_channels / 2, extra_channels - extra_channels / 2) : y;
}

void Shortcut::visit(Visitor& v) {
  if (conv) v.child("0", *conv);
  if (norm) v.child("1", *norm);
}

ResidualBlock::ResidualBlock(const ResnetConfig& config, std::int64_t in, std::int64_t width,
                             std::int64_t stride)
    : kind(config.block) {
  const std::int64_t out = outputs(kind, width);
  if (kind == BlockKind::basic) {
    convs.emplace_back(in, width, 3, stride, 1);
    convs.emplace_back(width, width, 3, 1, 1);
    norms.emplace_back(width);
    norms.emplace_back(width);
  } else {
    convs.emplace_back(in, width, 1);
    convs.emplace_back(width, width, 3, stride, 1);
    convs.emplace_back(width, out, 1);
    norms.emplace_back(kind == BlockKind::pre_activation ? in : width);
    norms.emplace_back(width);
    norms.emplace_back(kind == BlockKind::pre_activation ? width : out);
  }
  if (in == out && stride == 1) return;
  downsample.stride = stride;
  downsample.extra_channels = out - in;
  if (!config.projection) return;
  downsample.conv.emplace(in, out, 1, stride);
  if (kind != BlockKind::pre_activation) downsample.norm.emplace(out);
}

Tensor ResidualBlock::operator()(Tensor x) {
  return kind == BlockKind::pre_activation ? pre_activation(std::move(x)) : post_activation(std::move(x));
}

Tensor ResidualBlock::post_activation(Tensor x) {
  Tensor h = x;
  for (std::size_t i = 0; i < convs.size(); ++i) h = norms[i](convs[i](h), i + 1 < convs.size());
  return relu(downsample(x) + std::move(h));
}

Tensor ResidualBlock::pre_activation(Tensor x) {
  Tensor h = norms[0](x, true);
  // A shortcut that changes sizes starts behind the first activation, as in the published code.
  Tensor shortcut = downsample.changes_sizes() ? downsample(h) : std::move(x);
  h = convs[0](h);
  for (std::size_t i = 1; i < convs.size(); ++i) h = convs[i](norms[i](std::move(h), true));
  return std::move(shortcut) + std::move(h);
}

void ResidualBlock::visit(Visitor& v) {
  for (std::size_t i = 0; i < convs.size(); ++i) {
    v.child(fmt::format("conv{}", i + 1), convs[i]);
    v.child(fmt::format("bn{}", i + 1), norms[i]);
  }
  v.child("downsample", downsample);
}

Resnet::Resnet(const ResnetConfig& sizes) : config(sizes) {
  check(config);
  std::int64_t in = config.width;
  conv1 = config.large_images ? Conv2d(config.channels, in, 7, 2, 3) : Conv2d(config.channels, in, 3, 1, 1);
  for (std::size_t stage = 0; stage < config.stages.size(); ++stage) {
    const std::int64_t width = config.width << stage;
    std::vector<ResidualBlock>& blocks = layers.emplace_back();
    for (std::int64_t i = 0; i < config.stages[stage]; ++i) {
      blocks.emplace_back(config, in, width, stage > 0 && i == 0 ? 2 : 1);
      in = outputs(config.block, width);
    }
  }
  bn1 = BatchNorm2d(config.block == BlockKind::pre_activation ? in : config.width);
  fc = Linear(in, config.classes);
  name_tensors(*this);
}

std::int64_t Resnet::blocks() const {
  std::int64_t total = 0;
  for (const auto& stage : layers) total += static_cast<std::int64_t>(stage.size());
  return total;
}

Tensor Resnet::operator()(const Tensor& images) {
  if (images.rank() != 4 || images.size(1) != config.channels) {
    throw ShapeError(fmt::format("[resnet] images must be (N, {}, H, W), not {}", config.channels,
                                 to_string(images.shape())));
  }
  struct Placed {
    ResidualBlock* block;
    std::string name;
  };
  std::vector<Placed> sequence;
  for (std::size_t stage = 0; stage < layers.size(); ++stage) {
    for (std::size_t i = 0; i < layers[stage].size(); ++i)
      sequence.push_back({&layers[stage][i], block_name(stage, i)});
  }
  Tensor x = start_stem(images);
  checkpoint::sequence(segments, blocks(), [&](std::int64_t i) {
    if (i == 0) x = finish_stem(std::move(x));  // in the first block's segment, which frees what it makes
    const Placed& placed = sequence[static_cast<std::size_t>(i)];
    const ModuleScope scope(placed.name);
    x = (*placed.block)(std::move(x));
  });
  const ModuleScope scope("head");
  if (config.block == BlockKind::pre_activation) x = bn1(std::move(x), true);
  return fc(global_avg_pool2d(x));
}

Tensor Resnet::start_stem(const Tensor& images) {
  const ModuleScope scope("stem");
  return conv1(images);
}

Tensor Resnet::finish_stem(Tensor x) {
  const ModuleScope scope("stem");
  if (config.block != BlockKind::pre_activation) x = bn1(std::move(x), true);
  if (config.large_images) x = max_pool2d(x, {.kernel = {3, 3}, .stride = {2, 2}, .padding = {1, 1}});
  return x;
}

Tensor Resnet::loss(const Tensor& images, const Tensor& labels) {
  const Tensor logits = (*this)(images);
  const ModuleScope scope("loss");
  return cross_entropy(logits, labels);
}

void Resnet::visit(Visitor& v) {
  v.child("conv1", conv1);
  v.child("bn1", bn1);
  for (std::size_t stage = 0; stage < layers.size(); ++stage) {
    for (std::size_t i = 0; i < layers[stage].size(); ++i) v.child(block_name(stage, i), layers[stage][i]);
  }
  v.child("fc", fc);
}

}  // namespace reprise::nn
