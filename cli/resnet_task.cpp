// A ResNet that learns labelled images.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "cli/format.h"
#include "cli/signals.h"
#include "cli/task.h"

namespace reprise::cli {
namespace {

constexpr std::int64_t kDrawnTrain = 4000;
constexpr std::int64_t kDrawnTest = 500;
constexpr std::int64_t kQuickImages = 256;  // test images of an intermediate evaluation

struct ResnetSetup {
  nn::ResnetConfig config;
  std::int64_t batch = 64;
  std::uint64_t seed = 1;
  bool augment = false;
  DType dtype = DType::float32;
  nn::ImageData images;
  nn::Normalisation normalisation;
};

nn::ImageData read_images(const RunOptions& options) {
  if (!options.data.empty()) return nn::load_images(options.data);
  if (!options.dry) return nn::draw_shapes(kDrawnTrain, kDrawnTest, options.seed);
  nn::ImageData images = nn::draw_shapes(1, 1, options.seed);  // for its sizes
  images.train.count = kDrawnTrain;
  images.test.count = kDrawnTest;
  if (options.image) images.train.height = images.train.width = static_cast<int>(*options.image);
  return images;
}

ResnetSetup make_setup(const RunOptions& options) {
  ResnetSetup setup;
  setup.config = nn::resnet_preset(options.preset.value_or("resnet20"));
  setup.images = read_images(options);
  if (!options.dry) setup.normalisation = nn::normalisation_of(setup.images.train);
  if (options.layers) setup.config.stages.assign(setup.config.stages.size(), *options.layers);
  setup.config.width = options.width.value_or(setup.config.width);
  setup.config.channels = setup.images.train.channels;
  setup.config.classes = setup.images.train.classes;
  setup.batch = options.batch.value_or(std::min<std::int64_t>(64, setup.images.train.count));
  setup.seed = options.seed;
  setup.dtype = parse_dtype(options.dtype);
  setup.augment = options.augment;
  if (setup.batch < 2 || (!options.dry && setup.batch > setup.images.train.count)) {
    throw ValueError(fmt::format("[train] --batch {}; give 2 to {}, the number of training images",
                                 setup.batch, setup.images.train.count));
  }
  if (setup.images.test.count < 1)
    throw ValueError("[train] there are no test images to measure the accuracy with; give a test set");
  check(setup.config);
  return setup;
}

class ResnetTask final : public Task {
 public:
  explicit ResnetTask(std::shared_ptr<const ResnetSetup> setup) : setup_(std::move(setup)) {
    manual_seed(setup_->seed);
    model_ = nn::Resnet(setup_->config);
    if (setup_->dtype != DType::float32) nn::convert(model_, setup_->dtype);
  }

  std::string describe() const override {
    const nn::ImageSet& set = setup_->images.train;
    return fmt::format("ResNet: stages of {} blocks, width {}, {} parameters; batch {} of {} x {} x {}",
                       fmt::join(setup_->config.stages, ", "), setup_->config.width,
                       format_count(nn::count_elements(const_cast<ResnetTask*>(this)->parameters())),
                       setup_->batch, set.channels, set.height, set.width);
  }
  std::string data_name() const override {
    return fmt::format("{} ({} to train, {} to test)", setup_->images.name,
                       format_count(setup_->images.train.count), format_count(setup_->images.test.count));
  }
  std::string_view item_name() const override { return "images"; }
  std::int64_t items_per_step() const override { return setup_->batch; }
  void set_segments(const checkpoint::Setting& setting) override { model_.segments = setting; }
  std::vector<Tensor> parameters() override { return nn::parameters(model_); }
  std::vector<Tensor> buffers() override { return nn::tensors_of(nn::named_buffers(model_)); }
  void set_training(bool training) override { nn::train(model_, training); }

  void load(std::int64_t step) override {
    const nn::ImageSet& set = setup_->images.train;
    if (default_device().is_dry) {
      images_.put<float>({}, {setup_->batch, set.channels, set.height, set.width}, true);
      classes_.put<std::int32_t>({}, {setup_->batch});
      return;
    }
    const std::int64_t per_epoch = set.count / setup_->batch;
    const auto epoch = static_cast<std::uint64_t>(step / per_epoch);
    if (order_.empty() || epoch != epoch_) order_ = nn::epoch_order(set.count, setup_->seed, epoch);
    epoch_ = epoch;
    const auto first = static_cast<std::size_t>(step % per_epoch * setup_->batch);
    const std::span<const std::int64_t> indices(order_.data() + first,
                                                static_cast<std::size_t>(setup_->batch));
    std::optional<nn::Augmentation> augmentation;
    if (setup_->augment)
      augmentation = {.seed = setup_->seed,
                      .epoch = epoch,
                      .padding = set.height / 8,
                      .mirror = setup_->images.name.starts_with("CIFAR-10")};
    read(set, indices, augmentation);
    images_.put<float>(pixels_, shape_of(set), true);
    classes_.put<std::int32_t>(labels_, {setup_->batch});
  }

  Tensor loss() override { return cross_entropy(scores(images_.tensor()), classes_.tensor()); }

  Evaluation evaluate(bool thorough) override {
    const NoGrad no_grad;
    const InEvaluation mode(*this);
    const nn::ImageSet& set = setup_->images.test;
    const std::int64_t count = thorough ? set.count : std::min(set.count, kQuickImages);
    double loss = 0;
    double right = 0;
    for (std::int64_t first = 0; first < count; first += setup_->batch) {
      stop_if_interrupted();
      std::vector<std::int64_t> indices;
      for (std::int64_t i = first; i < std::min(count, first + setup_->batch); ++i) indices.push_back(i);
      read(set, indices, std::nullopt);
      const Tensor found = scores(from_host<float>(pixels_, shape_of(set), {.channels_last = true}));
      loss += cross_entropy(found, labels(), Reduction::sum).item<float>();
      right += static_cast<double>(sum(equal(argmax(found), labels().to(DType::int64))).item<std::int64_t>());
    }
    return {.loss = loss / static_cast<double>(count), .accuracy = right / static_cast<double>(count)};
  }

  std::string sample(std::int64_t) override { return {}; }

 private:
  void read(const nn::ImageSet& set, std::span<const std::int64_t> indices,
            const std::optional<nn::Augmentation>& augmentation) {
    pixels_.resize(indices.size() * static_cast<std::size_t>(set.image_bytes()));
    labels_.resize(indices.size());
    nn::image_batch<std::int32_t>(set, setup_->normalisation, indices, pixels_, labels_, augmentation);
  }
  Tensor scores(const Tensor& images) { return model_(images.to(setup_->dtype)); }
  /// Of the images that were read last.
  Shape shape_of(const nn::ImageSet& set) const {
    return {static_cast<std::int64_t>(labels_.size()), set.channels, set.height, set.width};
  }
  Tensor labels() const {
    return from_host<std::int32_t>(labels_, {static_cast<std::int64_t>(labels_.size())},
                                   {.dtype = DType::int32});
  }

  std::shared_ptr<const ResnetSetup> setup_;
  nn::Resnet model_;
  std::vector<std::int64_t> order_;
  std::uint64_t epoch_ = 0;
  std::vector<float> pixels_;
  std::vector<std::int32_t> labels_;
  BatchTensor images_, classes_;
};

class ResnetFactory final : public TaskFactory {
 public:
  explicit ResnetFactory(const RunOptions& options)
      : setup_(std::make_shared<ResnetSetup>(make_setup(options))) {}
  std::unique_ptr<Task> make() const override { return std::make_unique<ResnetTask>(setup_); }

 private:
  std::shared_ptr<const ResnetSetup> setup_;
};

}  // namespace

std::unique_ptr<TaskFactory> resnet_factory(const RunOptions& options) {
  return std::make_unique<ResnetFactory>(options);
}

}  // namespace reprise::cli
