// The program `reprise`.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <new>
#include <sstream>

#include "cli/option_values.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/parse_errors.h"
#include "cli/signals.h"
#include "cli/utf8.h"
#include "reprise/error.h"

namespace {

using namespace reprise;

constexpr std::int64_t kMostItems = 1 << 24;  // of a batch, a sequence, a vocabulary
constexpr std::int64_t kMostSteps = 100'000'000;

template <class T>
std::string with_default(std::string_view words, const T& value) {
  return fmt::format("{} (default: {})", words, value);
}

void add_run_options(CLI::App& command, cli::RunOptions& options, const char* steps,
                     const std::string& devices = "cpu, cuda or cuda:N") {
  command.add_option("model", options.model, "gpt or resnet")
      ->required()
      ->check(cli::one_of({"gpt", "resnet"}));
  command.add_option("--preset", options.preset,
                     "gpt: tiny (default), small, gpt2, gpt2-medium, gpt2-large, gpt2-xl; resnet: resnet20 "
                     "(default), resnet32, "
                     "resnet56, resnet1001, resnet18, resnet34, resnet50, resnet101, resnet152");
  const auto whole = [&](const char* name, auto& value, std::int64_t least, std::int64_t most,
                         const char* words) {
    command.add_option(name, value, words)->transform(cli::whole_number(least, most));
  };
  const auto text = [&](const char* name, std::string& value, const char* words) {
    command.add_option(name, value, words)->check(cli::file_name());
  };
  whole("--layers", options.layers, 1, 100'000, "blocks (resnet: per stage); by default the preset's");
  whole("--width", options.width, 1, 1 << 20,
        "channels of the model (resnet: of its first stage); by default the preset's");
  whole("--heads", options.heads, 1, 1 << 16, "attention heads; by default the preset's");
  whole("--seq", options.seq, 1, kMostItems, "tokens in a sequence; by default the preset's, at most 256");
  whole("--vocab", options.vocab, 1, kMostItems, "size of the vocabulary; by default the bytes that occur");
  whole("--batch", options.batch, 1, kMostItems, "sequences (default 8) or images (default 64) in a step");
  whole("--steps", options.steps, 1, kMostSteps, steps);
  command.add_option("--dropout", options.dropout, "probability of dropping; by default the preset's, 0")
      ->check(cli::number(0, 1));
  command.add_option("--lr", options.lr, "learning rate (default: gpt 0.001, resnet 0.05)")
      ->check(cli::number_above(0, 1e6));
  command.add_option("--schedule", options.schedule, "constant, step or cosine (default)");
  whole("--warmup", options.warmup, 0, kMostSteps,
        "steps of linear rise (default: a tenth of all, at most 100)");
  command.add_option("--weight-decay", options.weight_decay, "of matrices (default: gpt 0.1, resnet 0.0005)")
      ->check(cli::number(0, 1e6));
  command
      .add_option("--clip", options.clip,
                  "largest global norm of the gradients; 0: any (default: gpt 1, resnet 0)")
      ->check(cli::number(0, 1e30));
  text("--data", options.data,
       "gpt: a text file (default: this project's sources); resnet: a folder of IDX or CIFAR-10 files "
       "(default: "
       "drawn shapes)");
  command.add_flag("--augment", options.augment, "random crops (and mirror images for CIFAR-10)");
  command
      .add_option("--seed", options.seed,
                  with_default("of initialisation, data order and dropout", options.seed))
      ->transform(cli::seed_number());
  whole("--threads", options.threads, 1, 4096, "CPU threads (default: all, or OMP_NUM_THREADS)");
  whole("--capacity", options.capacity_mib, 1, 1 << 30,
        "MiB of memory that may be reserved (default: no limit)");
  command.add_option("--device", options.device, with_default(devices, options.device));
  command
      .add_option("--dtype", options.dtype,
                  with_default("of parameters and activations: float32, bfloat16 or float16", options.dtype))
      ->check(cli::one_of({"float32", "bfloat16", "float16"}));
  whole("--loss-chunk", options.loss_chunk, 0, kMostItems * kMostItems,
        "rows of logits that the loss makes at a time; 0: all (default)");
  command.add_flag("--graph", options.graph, "on CUDA: capture the step once and replay it as one launch");
  text("--json", options.json, "file for the results");
  command.add_flag("--anomaly", options.anomaly, "stop at the first NaN and name its operation");
}

void check_model_options(const cli::RunOptions& options) {
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

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

checkpoint::Setting parse_setting_of_train(std::string_view text) {
  try {
    return checkpoint::parse_setting(trimmed(text));
  } catch (const ValueError& error) {
    throw ValueError(std::string(error.what()) + ", or auto");
  }
}

std::vector<checkpoint::Setting> parse_settings(const std::vector<std::string>& texts) {
  std::vector<checkpoint::Setting> settings;
  settings.reserve(texts.size());
  for (const std::string& text : texts) settings.push_back(checkpoint::parse_setting(trimmed(text)));
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
  add_run_options(*train, train_options, "training steps (default: gpt 500, resnet 300)");
  train->add_option(
      "--segments", train_segments,
      with_default("none, blocks, every:K, sqrt, nested, cheap, or auto: as little as memory asks for",
                   train_segments));
  train->add_flag("--arena", train_options.arena,
                  "plan every allocation before the first step, and take one slab for all of them");
  train
      ->add_option(
          "--eval-every", train_options.eval_every,
          with_default("steps between evaluations on held-out data; 0: none", train_options.eval_every))
      ->transform(cli::whole_number(0, kMostSteps));
  train
      ->add_option("--sample", train_options.sample,
                   with_default("characters of text to write at the end", train_options.sample))
      ->transform(cli::whole_number(0, 1 << 20));

  cli::CompareOptions compare_options;
  std::vector<std::string> compare_segments{"none", "blocks", "sqrt", "nested"};
  CLI::App* compare = app.add_subcommand(
      "compare", "run the same steps with several settings of segments and compare memory, time and bits");
  add_run_options(*compare, compare_options,
                  "training steps (default 10); the first of each setting is not timed");
  compare
      ->add_option(
          "--segments", compare_segments,
          with_default("settings, separated by commas", fmt::format("{}", fmt::join(compare_segments, ","))))
      ->delimiter(',');
  compare->add_option("--plot", compare_options.plot, "SVG file for the memory over one step")
      ->check(cli::file_name());
  compare
      ->add_option("--report", compare_options.report,
                   "folder for a page, memory snapshots (PyTorch's viewer) and a trace (Perfetto)")
      ->check(cli::file_name());

  cli::PredictOptions predict_options;
  std::vector<std::string> predict_segments{"none", "cheap", "blocks", "sqrt", "nested"};
  CLI::App* predict = app.add_subcommand(
      "predict", "what a step would take on a device that need not be there, to the byte, in milliseconds");
  add_run_options(*predict, predict_options, "training steps at most (default 10), until one repeats another",
                  "cpu, h200, h100, a100, rtx4090 or a capacity such as 24GiB");
  predict
      ->add_option(
          "--segments", predict_segments,
          with_default("settings, separated by commas", fmt::format("{}", fmt::join(predict_segments, ","))))
      ->delimiter(',');
  std::string fit;
  predict->add_option("--fit", fit, "batch or seq: search the largest that fits, for each setting")
      ->check(cli::one_of({"batch", "seq"}));
  predict
      ->add_option("--image", predict_options.image,
                   "resnet: side of the images in pixels (default: the data's)")
      ->transform(cli::whole_number(1, 1 << 14));

  CLI::App* info = app.add_subcommand("info", "what was compiled in, and which devices there are");

  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& asked) {  // for help or the version
    std::ostringstream answer;
    const int status = app.exit(asked, answer, answer);
    cli::say(answer.str());
    return status;
  } catch (const CLI::ParseError& error) {
    cli::complain(cli::printable(cli::explain(error, app)));
    return cli::kFailed;
  }
  if (info->parsed()) return cli::info();
  if (predict->parsed()) {
    check_model_options(predict_options);
    predict_options.only_predicted = true;
    if (!fit.empty()) predict_options.fit = fit == "batch" ? cli::Fit::batch : cli::Fit::seq;
    predict_options.segments = parse_settings(predict_segments);
    return cli::predict(predict_options);
  }
  if (train->parsed()) {
    check_model_options(train_options);
    train_options.auto_segments = trimmed(train_segments) == "auto";
    if (!train_options.auto_segments) train_options.segments = parse_setting_of_train(train_segments);
    return cli::train(train_options);
  }
  check_model_options(compare_options);
  compare_options.segments = parse_settings(compare_segments);
  return cli::compare(compare_options);
}

}  // namespace

int main(int argc, char** argv) {
  cli::open_standard_streams();
  cli::listen_for_signals();
  try {
    return cli::status_with_output(run(argc, argv));
  } catch (const cli::Interrupted&) {
    cli::say("interrupted\n");
    return cli::interrupted_status();
  } catch (const cli::NobodyListens&) {
    return cli::status_with_output(0);
  } catch (const std::bad_alloc&) {
    cli::complain("the machine has no memory left; use a smaller model or batch");
  } catch (const std::exception& error) {
    cli::complain(error.what());
  }
  return cli::kFailed;
}
