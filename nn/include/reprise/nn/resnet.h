// Residual networks: for 224 x 224 images as in torchvision (He et al. 2015), for 32 x 32 ones as in the
// papers (He et al. 2015, section 4.2, with identity shortcuts; He et al. 2016, pre-activation bottlenecks).
#pragma once

#include <optional>
#include <string_view>

#include "reprise/checkpoint.h"
#include "reprise/nn/layers.h"

namespace reprise::nn {

/// How a residual block is built.
enum class BlockKind : std::uint8_t {
  basic,           // two 3 x 3 convolutions
  bottleneck,      // 1 x 1, 3 x 3, 1 x 1
  pre_activation,  // the bottleneck with norm and relu before each convolution
};

struct ResnetConfig {
  BlockKind block = BlockKind::basic;
  std::vector<std::int64_t> stages{3, 3, 3};  // blocks per stage
  std::int64_t width = 16;                    // channels of the first stage; each next one doubles them
  std::int64_t classes = 10;
  std::int64_t channels = 3;  // of the images
  bool large_images = false;  // 7 x 7 stem with stride 2 and max pooling
  bool projection =
      false;  // 1 x 1 convolutions as shortcuts where sizes change; else subsampling and zero channels
  bool operator==(const ResnetConfig&) const = default;
};

/// "resnet20", "resnet32", "resnet56", "resnet1001" for 32 x 32; "resnet18", "resnet34", "resnet50",
/// "resnet101", "resnet152" for 224 x 224. Throws ValueError listing them.
ResnetConfig resnet_preset(std::string_view name);

/// Throws ValueError when the sizes do not fit together.
void check(const ResnetConfig& config);

/// The shortcut of a block: identity, projection, or subsampling with zero channels around.
struct Shortcut {
  std::optional<Conv2d> conv;
  std::optional<BatchNorm2d> norm;
  std::int64_t stride = 1;
  std::int64_t extra_channels = 0;

  bool changes_sizes() const { return stride != 1 || extra_channels != 0; }
  Tensor operator()(const Tensor& x);
  void visit(Visitor& v);
};

struct ResidualBlock {
  BlockKind kind = BlockKind::basic;
  std::vector<Conv2d> convs;
  std::vector<BatchNorm2d> norms;
  Shortcut downsample;

  ResidualBlock() = default;
  ResidualBlock(const ResnetConfig& config, std::int64_t in, std::int64_t out, std::int64_t stride);
  Tensor operator()(Tensor x);
  void visit(Visitor& v);

 private:
  Tensor post_activation(Tensor x);
  Tensor pre_activation(Tensor x);
};

struct Resnet {
  ResnetConfig config;
  Conv2d conv1;
  BatchNorm2d bn1;  // after the stem, or after the last block with pre-activation
  std::vector<std::vector<ResidualBlock>> layers;
  Linear fc;
  checkpoint::Setting segments;  // how the blocks are cut into checkpoint segments

  Resnet() = default;
  explicit Resnet(const ResnetConfig& config);
  /// Logits (N, classes) of images (N, C, H, W).
  Tensor operator()(const Tensor& images);
  /// Mean cross entropy in nats.
  Tensor loss(const Tensor& images, const Tensor& labels);
  void visit(Visitor& v);
  std::int64_t blocks() const;

 private:
  Tensor start_stem(const Tensor& images);
  Tensor finish_stem(Tensor x);
};

}  // namespace reprise::nn
