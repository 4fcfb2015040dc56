// Trains a small GPT on a text, with every block a checkpoint segment: the whole program that a user would
// write.
//
//   example_train_gpt FILE
#include <cstdio>
#include <exception>

#include "reprise/reprise.h"

using namespace reprise;

namespace {

constexpr std::int64_t kBatch = 8;
constexpr std::int64_t kSeq = 64;
constexpr std::int64_t kSteps = 200;

Tensor to_tensor(const std::vector<std::int32_t>& ids) {
  return from_host<std::int32_t>(ids, {kBatch, kSeq}, {.dtype = DType::int32});
}

void run(const char* path) {
  manual_seed(1);
  const nn::TextCorpus text = nn::TextCorpus::from_file(path);

  nn::Gpt model({.vocabulary = text.vocabulary_size(),
                 .context = kSeq,
                 .layers = 4,
                 .heads = 4,
                 .width = 128,
                 .dropout = 0.1});
  model.segments = {.strategy = checkpoint::Strategy::blocks};
  const std::vector<Tensor> parameters = nn::parameters(model);
  nn::AdamW optimiser(nn::decay_matrices(parameters, 0.1));
  const nn::Schedule schedule{.kind = nn::Schedule::Kind::cosine, .lr = 1e-3, .warmup = 20, .total = kSteps};

  std::vector<std::int32_t> ids(kBatch * kSeq);
  std::vector<std::int32_t> targets(kBatch * kSeq);
  for (std::int64_t step = 0; step < kSteps; ++step) {
    text.random_batch<std::int32_t>(nn::Split::train, 1, static_cast<std::uint64_t>(step), kBatch, kSeq, ids,
                                    targets);
    optimiser.zero_grad();
    const Tensor loss = model.loss(to_tensor(ids), to_tensor(targets));
    loss.backward();
    optimiser.step(schedule.at(step), nn::global_norm(parameters, 1.0).scale);
    if (step % 20 == 19) {
      std::printf("step %3ld  loss %.3f  peak %s\n", static_cast<long>(step) + 1,
                  static_cast<double>(loss.item<float>()),
                  format_bytes(current_pool().statistics().all.allocated.peak).c_str());
    }
  }
  nn::evaluate(model);
  std::printf("%s\n", text.decode(nn::generate(model, {0}, 200, 0.8, 1)).c_str());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s FILE\n", argv[0]);
    return 2;
  }
  try {
    run(argv[1]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
  }
  return 0;
}
