// The program `reprise`.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <iostream>
#include <new>

#include "cli/options.h"
#include "reprise/error.h"

namespace {

using namespace reprise;

constexpr int kMisuse = 2;

void add_run_options(CLI::App& command, cli::RunOptions& options,
                     const std::string& devices = "cpu, cuda or cuda:N") {
  command.add_option("model", options.model, "gpt or resnet")
      ->required()
      ->check(CLI::IsMember({"gpt", "resnet"}));
  command.add_option(
      "--preset", options.preset,
      "gpt: tiny, small, gpt2, gpt2-medium, gpt2-large, gpt2-xl; resnet: resnet20, resnet32, resnet56, "
      "resnet1001, resnet18, resnet34, resnet50, resnet101, resnet152");
  command.add_option("--layers", options.layers, "blocks (resnet: per stage)")->check(CLI::Range(1, 100000));
  command.add_option("--width", options.width, "channels of the model (resnet: of its first stage)")
      ->check(CLI::Range(1, 1 << 20));
  command.add_option("--heads", options.heads, "attention heads")->check(CLI::Range(1, 1 << 16));
  command.add_option("--seq", options.seq, "tokens in a sequence")->check(CLI::Range(1, 1 << 24));
  command.add_option("--vocab", options.vocab, "size of the vocabulary; by default the bytes that occur")
      ->check(CLI::Range(1, 1 << 24));
  command.add_option("--batch", options.batch, "sequences or images in a step")
      ->check(CLI::Range(1, 1 << 24));
  command.add_option("--steps", options.steps, "training steps")->check(CLI::Range(1, 100000000));
  command.add_option("--dropout", options.dropout, "probability in [0, 1)");
  command.add_option("--lr", options.lr, "learning rate")->check(CLI::PositiveNumber);
  command.add_option("--schedule", options.schedule, "constant, step or cosine (default)");
  command.add_option("--warmup", options.warmup, "steps of linear rise")->check(CLI::NonNegativeNumber);
  command.add_option("--weight-decay", options.weight_decay, "of matrices")->check(CLI::NonNegativeNumber);
  command.add_option("--clip", options.clip, "largest global norm of the gradients; 0: any")
      ->check(CLI::NonNegativeNumber);
  command.add_option("--data", options.data, "gpt: a text file; resnet: a folder of IDX or CIFAR-10 files");
  command.add_flag("--augment", options.augment, "random crops (and mirror images for CIFAR-10)");
  command.add_option("--seed", options.seed, "of initialisation, data order and dropout");
  command.add_option("--threads", options.threads, "CPU threads")->check(CLI::Range(1, 4096));
  command.add_option("--capacity", options.capacity_mib, "MiB of memory that may be reserved")
      ->check(CLI::Range(1, 1 << 30));
  command.add_option("--device", options.device, devices);
  command.add_option("--dtype", options.dtype, "of parameters and activations: float32, bfloat16 or float16")
      ->check(CLI::IsMember({"float32", "bfloat16", "float16"}));
  command
      .add_option("--loss-chunk", options.loss_chunk, "rows of logits that the loss makes at a time; 0: all")
      ->check(CLI::NonNegativeNumber);
  command.add_flag("--graph", options.graph, "on CUDA: capture the step once and replay it as one launch");
  command.add_option("--json", options.json, "file for the results");
  command.add_flag("--anomaly", options.anomaly, "stop at the first NaN and name its operation");
}

void check_model_options(const cli::RunOptions& options) {
  for (const auto& [option, value] :
       {std::pair{"--lr", options.lr}, std::pair{"--weight-decay", options.weight_decay},
        std::pair{"--clip", options.clip}}) {
    if (value && !std::isfinite(*value))
      throw ValueError(fmt::format("[{}] {} is not a finite number", options.model, option));
  }
  const auto refuse = [&](bool given, const char* option) {
    if (given)
      throw ValueError(
          fmt::format("[{}] has no {}; it is an option of the other model", options.model, option));
  };
  if (options.model == "gpt") {
    refuse(options.augment, "--augment");
    refuse(options.image.has_value(), "--image");
  } else {
    refuse(options.heads.has_value(), "--heads");
    refuse(options.seq.has_value(), "--seq");
    refuse(options.vocab.has_value(), "--vocab");
    refuse(options.loss_chunk.has_value(), "--loss-chunk");
    refuse(options.dropout.has_value(), "--dropout");
  }
}

std::vector<checkpoint::Setting> parse_settings(const std::vector<std::string>& texts) {
  std::vector<checkpoint::Setting> settings;
  settings.reserve(texts.size());
  for (const std::string& text : texts) settings.push_back(checkpoint::parse_setting(text));
  return settings;
}

int run(int argc, char** argv) {
  CLI::App app(
      "Reprise trains small models and plays their tape again: with checkpoint segments, to the same last "
      "bit, in less memory.",
      "reprise");
  app.set_version_flag("--version", "reprise " REPRISE_VERSION);
  app.require_subcommand(1);

  cli::TrainOptions train_options;
  std::string train_segments = "none";
  CLI::App* train = app.add_subcommand("train", "train one model, and show what it has learnt");
  add_run_options(*train, train_options);
  train->add_option("--segments", train_segments,
                    "none, blocks, every:K, sqrt, nested, cheap, or auto: as little as memory asks for");
  train->add_flag("--arena", train_options.arena,
                  "plan every allocation before the first step, and take one slab for all of them");
  train->add_option("--eval-every", train_options.eval_every, "steps between evaluations on held-out data")
      ->check(CLI::NonNegativeNumber);
  train->add_option("--sample", train_options.sample, "characters of text to write at the end")
      ->check(CLI::Range(0, 1 << 20));

  cli::CompareOptions compare_options;
  std::vector<std::string> compare_segments{"none", "blocks", "sqrt", "nested"};
  CLI::App* compare = app.add_subcommand(
      "compare", "run the same steps with several settings of segments and compare memory, time and bits");
  add_run_options(*compare, compare_options);
  compare->add_option("--segments", compare_segments, "settings, separated by commas")->delimiter(',');
  compare->add_option("--plot", compare_options.plot, "SVG file for the memory over one step");
  compare->add_option("--report", compare_options.report,
                      "folder for a page, memory snapshots (PyTorch's viewer) and a trace (Perfetto)");

  cli::PredictOptions predict_options;
  std::vector<std::string> predict_segments{"none", "cheap", "blocks", "sqrt", "nested"};
  CLI::App* predict = app.add_subcommand(
      "predict", "what a step would take on a device that need not be there, to the byte, in milliseconds");
  add_run_options(*predict, predict_options, "cpu, h200, h100, a100, rtx4090 or a capacity such as 24GiB");
  predict->add_option("--segments", predict_segments, "settings, separated by commas")->delimiter(',');
  predict
      ->add_option("--fit", predict_options.fit,
                   "batch or seq: search the largest that fits, for each setting")
      ->transform(CLI::CheckedTransformer(
          std::map<std::string, cli::Fit>{{"batch", cli::Fit::batch}, {"seq", cli::Fit::seq}}));
  predict->add_option("--image", predict_options.image, "resnet: side of the images in pixels")
      ->check(CLI::Range(1, 1 << 14));

  CLI::App* info = app.add_subcommand("info", "what was compiled in, and which devices there are");

  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp& help) {
    return app.exit(help);
  } catch (const CLI::CallForVersion& version) {
    return app.exit(version);
  } catch (const CLI::ParseError& error) {
    std::cerr << "reprise: " << error.what() << "; see reprise --help\n";
    return kMisuse;
  }
  if (info->parsed()) return cli::info();
  if (predict->parsed()) {
    check_model_options(predict_options);
    predict_options.segments = parse_settings(predict_segments);
    return cli::predict(predict_options);
  }
  if (train->parsed()) {
    check_model_options(train_options);
    train_options.auto_segments = train_segments == "auto";
    if (!train_options.auto_segments) train_options.segments = checkpoint::parse_setting(train_segments);
    return cli::train(train_options);
  }
  check_model_options(compare_options);
  compare_options.segments = parse_settings(compare_segments);
  return cli::compare(compare_options);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::bad_alloc&) {
    std::cerr << "reprise: the machine has no memory left; use a smaller model or batch\n";
  } catch (const std::exception& error) {
    std::cerr << "reprise: " << error.what() << '\n';
  }
  return kMisuse;
}
