// A GPT that learns a text, byte by byte.
#include <fmt/format.h>

#include <cmath>

#include "cli/format.h"
#include "cli/signals.h"
#include "cli/task.h"
#include "cli/utf8.h"

namespace reprise::cli {
namespace {

constexpr std::int64_t kQuickWindows = 64;  // validation windows of an intermediate evaluation

struct GptSetup {
  nn::GptConfig config;
  std::int64_t batch = 8;
  std::int64_t seq = 128;
  std::uint64_t seed = 1;
  DType dtype = DType::float32;
  std::optional<nn::TextCorpus> corpus;  // there wherever data is read
};

/// Nothing where only sizes are wanted and --vocab gives the one that the text would.
std::optional<nn::TextCorpus> read_corpus(const RunOptions& options) {
  if (!options.data.empty()) return nn::TextCorpus::from_file(options.data);
  if (options.dry && options.vocab) return std::nullopt;
  const std::string folder = options.sources.empty() ? REPRISE_SOURCE_DIR : options.sources;
  try {
    return nn::TextCorpus(nn::project_sources(folder), "this project's sources");
  } catch (const Error&) {
    throw Error(fmt::format(
        "[{}] this project's sources, the text that gpt reads by default, are not under {} or cannot "
        "be read; give --data FILE{}",
        options.only_predicted ? "predict" : "train", printable(folder),
        options.only_predicted ? ", or --vocab N, which needs no text" : ""));
  }
}

/// Throws ValueError unless every split has more than one sequence.
void check_length(const nn::TextCorpus& corpus, std::int64_t seq) {
  for (const nn::Split split : {nn::Split::train, nn::Split::validation}) {
    if (corpus.size(split) > seq) continue;
    throw ValueError(
        fmt::format("[train] {} has {} bytes in its {} part; --seq {} needs more; give a longer text or a "
                    "shorter --seq",
                    printable(corpus.name()), corpus.size(split),
                    split == nn::Split::train ? "training" : "validation", seq));
  }
}

GptSetup make_setup(const RunOptions& options) {
  GptSetup setup{.config = nn::gpt_preset(options.preset.value_or("tiny")), .corpus = read_corpus(options)};
  nn::GptConfig& config = setup.config;
  config.layers = options.layers.value_or(config.layers);
  config.heads = options.heads.value_or(config.heads);
  config.width = options.width.value_or(config.width);
  config.dropout = options.dropout.value_or(config.dropout);
  setup.seq = options.seq.value_or(std::min<std::int64_t>(config.context, 256));
  if (setup.seq < 1) throw ValueError(fmt::format("[train] --seq {}; it must be at least 1", setup.seq));
  config.context = std::max(config.context, setup.seq);
  setup.batch = options.batch.value_or(8);
  if (setup.batch < 1)
    throw ValueError(fmt::format("[train] --batch {}; it must be at least 1", setup.batch));
  setup.seed = options.seed;
  setup.dtype = parse_dtype(options.dtype);
  // More rows than a batch has are all of them.
  config.loss_chunk = std::min(options.loss_chunk.value_or(0), setup.batch * setup.seq);
  // A preset's vocabulary stands, where it is large enough, so that its cost is the real one.
  const std::int64_t occurring = setup.corpus ? setup.corpus->vocabulary_size() : 0;
  if (options.vocab)
    config.vocabulary = *options.vocab;
  else if (!options.preset || config.vocabulary < occurring)
    config.vocabulary = occurring;
  if (config.vocabulary < occurring) {
    throw ValueError(fmt::format("[train] --vocab {} is too small: {} has {} different bytes",
                                 config.vocabulary, printable(setup.corpus->name()), occurring));
  }
  if (!options.dry) check_length(*setup.corpus, setup.seq);
  check(config);
  return setup;
}

class GptTask final : public Task {
 public:
  explicit GptTask(std::shared_ptr<const GptSetup> setup) : setup_(std::move(setup)) {
    manual_seed(setup_->seed);
    model_ = nn::Gpt(setup_->config);
    if (setup_->dtype != DType::float32) nn::convert(model_, setup_->dtype);
  }

  std::string describe() const override {
    const nn::GptConfig& config = setup_->config;
    std::int64_t elements = 0;
    for (const Tensor& parameter : const_cast<GptTask*>(this)->parameters()) elements += parameter.numel();
    return fmt::format("GPT: {}, width {}, {}, vocabulary {}, {} parameters; batch {} of {}, dropout {}",
                       format_counted(config.layers, "layer"), config.width,
                       format_counted(config.heads, "head"), format_count(config.vocabulary),
                       format_count(elements), setup_->batch, format_counted(setup_->seq, "token"),
                       config.dropout);
  }
  std::string data_name() const override { return setup_->corpus->name(); }
  std::string_view item_name() const override { return "tokens"; }
  std::int64_t items_per_step() const override { return setup_->batch * setup_->seq; }
  void set_segments(const checkpoint::Setting& setting) override { model_.segments = setting; }
  std::vector<Tensor> parameters() override { return nn::parameters(model_); }
  std::vector<Tensor> buffers() override { return {}; }
  void set_training(bool training) override { nn::train(model_, training); }

  void load(std::int64_t step) override {
    const Shape shape{setup_->batch, setup_->seq};
    if (default_device().is_dry) {
      inputs_.put<std::int32_t>({}, shape);
      labels_.put<std::int32_t>({}, shape);
      return;
    }
    resize(setup_->batch);
    setup_->corpus->random_batch<std::int32_t>(nn::Split::train, setup_->seed,
                                               static_cast<std::uint64_t>(step), setup_->batch, setup_->seq,
                                               ids_, targets_);
    inputs_.put<std::int32_t>(ids_, shape);
    labels_.put<std::int32_t>(targets_, shape);
  }

  Tensor loss() override { return model_.loss(inputs_.tensor(), labels_.tensor()); }

  Evaluation evaluate(bool thorough) override {
    const NoGrad no_grad;
    const InEvaluation mode(*this);
    const std::int64_t all = setup_->corpus->windows(nn::Split::validation, setup_->seq);
    const std::int64_t windows = thorough ? all : std::min(all, kQuickWindows);
    double total = 0;
    for (std::int64_t first = 0; first < windows; first += setup_->batch) {
      stop_if_interrupted();
      const std::int64_t batch = std::min(setup_->batch, windows - first);
      resize(batch);
      setup_->corpus->window_batch<std::int32_t>(nn::Split::validation, first, batch, setup_->seq, ids_,
                                                 targets_);
      total += static_cast<double>(batch) * loss_of_batch(batch).item<float>();
    }
    return {.loss = total / static_cast<double>(windows), .accuracy = std::nullopt};
  }

  std::string sample(std::int64_t length) override {
    if (length <= 0) return {};
    const InEvaluation mode(*this);
    const std::string_view vocabulary = setup_->corpus->vocabulary();
    const char start = vocabulary.find('\n') != std::string_view::npos ? '\n' : vocabulary.front();
    std::vector<std::int32_t> ids = nn::generate(model_, setup_->corpus->encode(std::string(1, start)),
                                                 length, 0.8, setup_->seed, stop_if_interrupted);
    // A model with a larger vocabulary than the text may draw tokens that stand for nothing.
    std::erase_if(ids, [&](std::int32_t id) { return id >= setup_->corpus->vocabulary_size(); });
    return setup_->corpus->decode(ids);
  }

 private:
  void resize(std::int64_t batch) {
    ids_.resize(static_cast<std::size_t>(batch * setup_->seq));
    targets_.resize(ids_.size());
  }
  Tensor loss_of_batch(std::int64_t batch) {
    const Shape shape{batch, setup_->seq};
    const TensorOptions integers{.dtype = DType::int32};
    return model_.loss(from_host<std::int32_t>(ids_, shape, integers),
                       from_host<std::int32_t>(targets_, shape, integers));
  }

  std::shared_ptr<const GptSetup> setup_;
  nn::Gpt model_;
  std::vector<std::int32_t> ids_, targets_;
  BatchTensor inputs_, labels_;
};

class GptFactory final : public TaskFactory {
 public:
  explicit GptFactory(const RunOptions& options) : setup_(std::make_shared<GptSetup>(make_setup(options))) {}
  std::unique_ptr<Task> make() const override { return std::make_unique<GptTask>(setup_); }

 private:
  std::shared_ptr<const GptSetup> setup_;
};

}  // namespace

std::unique_ptr<TaskFactory> gpt_factory(const RunOptions& options) {
  return std::make_unique<GptFactory>(options);
}

}  // namespace reprise::cli
