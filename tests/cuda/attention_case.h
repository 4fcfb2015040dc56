// One call of attention on CUDA beside the CPU's, which computes in float64 and rounds results once.
#pragma once

#include "harness.h"
#include "reprise/kernels/attention.h"

namespace reprise::test::attention {

using kernels::AttentionParams;
using kernels::RandomKey;
using kernels::Target;
using kernels::Write;

inline constexpr RandomKey kKey{0x123456789abcdef0u, 0x0fedcba987654321u};

/// Where the elements of a (B, H, T, D) tensor lie.
enum class Place { dense, in_qkv, spread, misaligned };

struct Case {
  DType dtype = DType::float32;
  std::int64_t batch = 1, heads = 2, length = 64, size = 64;
  AttentionParams params{0.125, true, 0.0};
  Place place = Place::dense;
  Write write = Write::overwrite;
  bool to_queries = true, to_keys = true, to_values = true;

  Twin tensor() const {
    const std::int64_t row = size * heads;
    const Twin::Sizes sizes{batch, heads, length, size};
    switch (place) {
      case Place::dense:
        return Twin(dtype, sizes);
      case Place::in_qkv:  // one third of (B, T, 3, H, D)
        return Twin(dtype, sizes, {3 * length * row, size, 3 * row, 1}, 2 * row);
      case Place::spread:
        return Twin(dtype, sizes, {2 * length * row + 16, 2 * length * size, size + 8, 1}, 8);
      case Place::misaligned:
        return Twin(dtype, sizes, {length * (row + heads), length * (size + 1), size + 1, 1}, 1);
    }
    return Twin(dtype, sizes);
  }
  std::string name() const {
    return std::string(name_of(dtype)) + " (" + std::to_string(batch) + ", " + std::to_string(heads) + ", " +
           std::to_string(length) + ", " + std::to_string(size) + ") scale " + std::to_string(params.scale) +
           (params.causal ? " causal" : "") + " dropout " + std::to_string(params.dropout) + " place " +
           std::to_string(static_cast<int>(place)) + (write == Write::accumulate ? " accumulate" : "");
  }
};

/// Every row of D elements agrees: |a - b| <= tolerance * |b| in the Euclidean norm, which a single key
/// treated wrongly exceeds; rows that ought to be near zero are held to a tenth of an input's norm. Memory
/// between the rows is untouched.
inline void check_rows(Twin& tensor) {
  const kernels::View view = tensor.cpu();
  const double tolerance = view.dtype == DType::bfloat16 ? 1e-2 : view.dtype == DType::float16 ? 2e-3 : 1e-5;
  const std::vector<double> expected = tensor.cpu_values(), found = tensor.cuda_values();
  std::vector<bool> of_tensor(expected.size(), false);
  std::size_t wrong = 0;
  for (std::int64_t row = 0; row < view.numel() / view.sizes[3]; ++row) {
    const std::int64_t t = row % view.sizes[2], h = row / view.sizes[2] % view.sizes[1];
    const std::int64_t b = row / view.sizes[2] / view.sizes[1];
    const auto first =
        static_cast<std::size_t>(b * view.strides[0] + h * view.strides[1] + t * view.strides[2]);
    double difference = 0, norm = 0;
    for (std::size_t i = first; i < first + static_cast<std::size_t>(view.sizes[3]); ++i) {
      of_tensor[i] = true;
      difference += (found[i] - expected[i]) * (found[i] - expected[i]);
      norm += expected[i] * expected[i];
    }
    const double least = 0.1 * std::sqrt(static_cast<double>(view.sizes[3]));
    if (!(std::sqrt(difference) <= tolerance * std::max(least, std::sqrt(norm))) && ++wrong <= 3) {
      UNSCOPED_INFO("row " << b << ", " << h << ", " << t << ": off by " << std::sqrt(difference) << ", norm "
                           << std::sqrt(norm));
    }
  }
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (of_tensor[i] || std::isnan(found[i]) || found[i] == expected[i]) continue;
    if (++wrong <= 3) UNSCOPED_INFO("memory " << i << " outside of the tensor was written: " << found[i]);
  }
  CHECK(wrong == 0);
}

/// The tensors of one call.
struct Tensors {
  explicit Tensors(const Case& c, unsigned seed = 1)
      : q(c.tensor()),
        k(c.tensor()),
        v(c.tensor()),
        out(c.tensor()),
        statistics(DType::float32, {c.batch, c.heads, c.length, 2}),
        dout(c.tensor()),
        dq(c.tensor()),
        dk(c.tensor()),
        dv(c.tensor()) {
    q.randomise(seed);
    k.randomise(seed + 1);
    v.randomise(seed + 2);
    dout.randomise(seed + 3);
    if (c.write == Write::accumulate) {
      dq.randomise(seed + 4);
      dk.randomise(seed + 5);
      dv.randomise(seed + 6);
    }
  }
  Twin q, k, v, out, statistics, dout, dq, dk, dv;
};

inline void forward(const Case& c, Tensors& t, const Queues& queues) {
  Twin q = t.q.widened(), k = t.k.widened(), v = t.v.widened(), out = t.out.widened();
  Twin statistics = t.statistics.widened();
  TwinWorkspace workspace(
      kernels::cpu::attention_workspace_bytes(DeviceKind::cpu, c.params, q.cpu(), false),
      kernels::cuda::attention_workspace_bytes(DeviceKind::cuda, c.params, t.q.cpu(), false));
  kernels::cpu::attention_forward(queues.cpu(), c.params, kKey, q.cpu(), k.cpu(), v.cpu(), out.cpu(),
                                  statistics.cpu(), workspace.cpu());
  t.out.take_cpu(out);
  t.statistics.take_cpu(statistics);
  kernels::cuda::attention_forward(queues.cuda(), c.params, kKey, t.q.cuda(), t.k.cuda(), t.v.cuda(),
                                   t.out.cuda(), t.statistics.cuda(), workspace.cuda());
  queues.wait();
}

inline void backward(const Case& c, Tensors& t, const Queues& queues) {
  Twin q = t.q.widened(), k = t.k.widened(), v = t.v.widened(), out = t.out.widened();
  Twin statistics = t.statistics.widened();
  Twin dout = t.dout.widened(), dq = t.dq.widened(), dk = t.dk.widened(), dv = t.dv.widened();
  TwinWorkspace workspace(
      kernels::cpu::attention_workspace_bytes(DeviceKind::cpu, c.params, q.cpu(), true),
      kernels::cuda::attention_workspace_bytes(DeviceKind::cuda, c.params, t.q.cpu(), true));
  const auto cpu = [&](Twin& twin, bool wanted) { return wanted ? twin.cpu(c.write) : Target{}; };
  const auto cuda = [&](Twin& twin, bool wanted) { return wanted ? twin.cuda(c.write) : Target{}; };
  kernels::cpu::attention_backward(queues.cpu(), c.params, kKey, q.cpu(), k.cpu(), v.cpu(), out.cpu(),
                                   statistics.cpu(), dout.cpu(), cpu(dq, c.to_queries), cpu(dk, c.to_keys),
                                   cpu(dv, c.to_values), workspace.cpu());
  t.dq.take_cpu(dq);
  t.dk.take_cpu(dk);
  t.dv.take_cpu(dv);
  kernels::cuda::attention_backward(queues.cuda(), c.params, kKey, t.q.cuda(), t.k.cuda(), t.v.cuda(),
                                    t.out.cuda(), t.statistics.cuda(), t.dout.cuda(),
                                    cuda(t.dq, c.to_queries), cuda(t.dk, c.to_keys), cuda(t.dv, c.to_values),
                                    workspace.cuda());
  queues.wait();
}

/// Which shift a row has is the backend's own choice; what it makes of the row's log-sum-exp is not.
inline void check_statistics(Twin& statistics) {
  const std::vector<double> expected = statistics.cpu_values(), found = statistics.cuda_values();
  double worst = 0;
  for (std::size_t i = 0; i < expected.size(); i += 2) {
    const double wanted = expected[i] - std::log(expected[i + 1]);
    const double error = std::fabs(found[i] - std::log(found[i + 1]) - wanted);
    worst = std::isnan(error) ? error : std::max(worst, error / std::max(1.0, std::fabs(wanted)));
  }
  CHECK(worst <= 2e-6);
}

inline void check(const Case& c, const Queues& queues) {
  INFO(c.name());
  Tensors t(c);
  forward(c, t, queues);
  check_rows(t.out);
  check_statistics(t.statistics);
  t.out.upload();  // the backward begins with the same values on both sides
  t.statistics.upload();
  backward(c, t, queues);
  check_rows(t.dq);
  check_rows(t.dk);
  check_rows(t.dv);
}

}  // namespace reprise::test::attention
