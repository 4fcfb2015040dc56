#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "kernel_tensor.h"
#include "reprise/kernels/attention.h"
#include "reprise/kernels/philox.h"

using namespace reprise;
using namespace reprise::kernels;

namespace {

constexpr RandomKey kKey{20240607, 12};

enum class Storage { heads_first, rows_first, packed };

struct Shape {
  std::int64_t batch, heads, length, size;
};

struct Case {
  Shape shape;
  bool causal = true;
  double dropout = 0.0;
  DType dtype = DType::float32;
  Storage storage = Storage::heads_first;
};

/// Scratch memory of exactly the promised size, with guard bytes behind it.
class Scratch {
 public:
  explicit Scratch(std::size_t bytes) : words_(bytes / 8 + 9, kPattern), bytes_(bytes) {}
  Workspace workspace() { return {words_.data(), bytes_}; }
  bool intact() const {
    return std::all_of(words_.begin() + static_cast<std::ptrdiff_t>((bytes_ + 7) / 8), words_.end(),
                       [](std::uint64_t word) { return word == kPattern; });
  }

 private:
  static constexpr std::uint64_t kPattern = 0x7FF8A5A5A5A5A5A5u;  // a NaN: scratch memory may hold anything
  std::vector<std::uint64_t> words_;
  std::size_t bytes_;
};

/// Three (B, H, T, D) tensors, or views of one (B, T, 3, H, D) tensor.
class Triple {
 public:
  Triple(const Shape& s, DType dtype, Storage storage) {
    if (storage == Storage::packed) {
      whole_.emplace(dtype, std::vector<std::int64_t>{s.batch, s.length, 3, s.heads, s.size});
    } else {
      for (int i = 0; i < 3; ++i) {
        parts_.emplace_back(
            dtype, std::vector<std::int64_t>{s.batch, s.heads, s.length, s.size},
            storage == Storage::rows_first ? std::vector<int>{0, 2, 1, 3} : std::vector<int>{},
            storage == Storage::rows_first ? 5 : 0);
      }
    }
  }

  View view(int part) const {
    if (!whole_) return parts_[static_cast<std::size_t>(part)].view();
    const View& w = whole_->view();
    View v = w;
    v.rank = 4;
    constexpr int kAxes[] = {0, 3, 1, 4};
    for (int axis = 0; axis < 4; ++axis) {
      v.sizes[axis] = w.sizes[kAxes[axis]];
      v.strides[axis] = w.strides[kAxes[axis]];
    }
    v.data =
        static_cast<std::byte*>(w.data) + static_cast<std::size_t>(part * w.strides[2]) * size_of(w.dtype);
    return v;
  }
  bool guards_intact() const {
    return (!whole_ || whole_->guards_intact()) &&
           std::all_of(parts_.begin(), parts_.end(),
                       [](const KernelTensor& part) { return part.guards_intact(); });
  }

 private:
  std::optional<KernelTensor> whole_;
  std::vector<KernelTensor> parts_;
};

std::int64_t offset_of(const View& view, std::int64_t i) {
  std::int64_t at = 0;
  for (int axis = view.rank - 1; axis >= 0; --axis) {
    at += i % view.sizes[axis] * view.strides[axis];
    i /= view.sizes[axis];
  }
  return at;
}

double get(const View& view, std::int64_t i) {
  double value = 0;
  dispatch_floating(view.dtype,
                    [&]<class T>() { value = static_cast<double>(view.as<T>()[offset_of(view, i)]); });
  return value;
}

template <class F>
void fill(const View& view, F&& f) {
  dispatch_floating(view.dtype, [&]<class T>() {
    for (std::int64_t i = 0; i < view.numel(); ++i) {
      view.as<T>()[offset_of(view, i)] = static_cast<T>(static_cast<Compute<T>>(f(i)));
    }
  });
}

std::vector<double> values(const View& view) {
  std::vector<double> all(static_cast<std::size_t>(view.numel()));
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = get(view, static_cast<std::int64_t>(i));
  return all;
}

double pseudo_random(std::int64_t i, std::uint64_t stream) {
  return 2.0 * philox::unit_double(philox::word_of(7, stream, static_cast<std::uint64_t>(i))) - 1.0;
}

AttentionParams params_of(const Case& c) {
  return {
      .scale = 1.0 / std::sqrt(static_cast<double>(c.shape.size)), .causal = c.causal, .dropout = c.dropout};
}

/// What the formulas give in double, head by head and row by row.
struct Reference {
  std::vector<double> out, lse, dq, dk, dv;

  Reference(const Case& c, const std::vector<double>& q, const std::vector<double>& k,
            const std::vector<double>& v, const std::vector<double>& dout)
      : out(q.size()),
        lse(q.size() / static_cast<std::size_t>(c.shape.size)),
        dq(q.size()),
        dk(q.size()),
        dv(q.size()) {
    const auto heads = static_cast<std::size_t>(c.shape.batch * c.shape.heads);
    const auto n = static_cast<std::size_t>(c.shape.length), size = static_cast<std::size_t>(c.shape.size);
    const AttentionParams params = params_of(c);
    for (std::size_t head = 0; head < heads; ++head) {
      const double *const qs = &q[head * n * size], *const ks = &k[head * n * size],
                          *const vs = &v[head * n * size];
      for (std::size_t i = 0; i < n; ++i) {
        const std::size_t row = (head * n + i) * size, visible = c.causal ? i + 1 : n;
        std::vector<double> p(visible), factor(visible, 1.0), g(visible);
        double sum = 0, delta = 0;
        for (std::size_t j = 0; j < visible; ++j) {
          for (std::size_t d = 0; d < size; ++d) p[j] += params.scale * qs[i * size + d] * ks[j * size + d];
          sum += std::exp(p[j]);
        }
        lse[head * n + i] = std::log(sum);
        for (std::size_t j = 0; j < visible; ++j) {
          p[j] = std::exp(p[j]) / sum;
          const std::uint32_t word = philox::word_of(kKey.seed, kKey.node, (head * n + i) * n + j);
          const bool dropped = params.dropout == 1.0 || word < params.dropout * 4294967296.0;
          factor[j] = dropped ? 0.0 : 1.0 / (1.0 - params.dropout);
          for (std::size_t d = 0; d < size; ++d) {
            out[row + d] += p[j] * factor[j] * vs[j * size + d];
            g[j] += factor[j] * dout[row + d] * vs[j * size + d];
            dv[(head * n + j) * size + d] += p[j] * factor[j] * dout[row + d];
          }
          delta += p[j] * g[j];
        }
        for (std::size_t j = 0; j < visible; ++j) {
          const double ds = params.scale * p[j] * (g[j] - delta);
          for (std::size_t d = 0; d < size; ++d) {
            dq[row + d] += ds * ks[j * size + d];
            dk[(head * n + j) * size + d] += ds * qs[i * size + d];
          }
        }
      }
    }
  }
};

/// One forward and backward.
struct Run {
  Case c;
  Triple inputs, gradients;
  KernelTensor out, dout, statistics;
  bool scratch_intact = true;

  explicit Run(const Case& which)
      : c(which),
        inputs(c.shape, c.dtype, c.storage),
        gradients(c.shape, c.dtype, c.storage),
        out(make()),
        dout(make()),
        statistics(c.dtype == DType::float64 ? DType::float64 : DType::float32,
                   {c.shape.batch, c.shape.heads, c.shape.length, 2}) {
    for (int part = 0; part < 3; ++part) {
      fill(inputs.view(part),
           [&](std::int64_t i) { return 2.0 * pseudo_random(i, static_cast<std::uint64_t>(part)); });
    }
    dout.fill([](std::int64_t i) { return pseudo_random(i, 3); });
  }

  KernelTensor make() const {
    const std::vector<int> rows_first = {0, 2, 1, 3};
    return {c.dtype,
            {c.shape.batch, c.shape.heads, c.shape.length, c.shape.size},
            c.storage == Storage::heads_first ? std::vector<int>{} : rows_first};
  }
  void forward() {
    const AttentionParams params = params_of(c);
    Scratch scratch(attention_workspace_bytes(DeviceKind::cpu, params, inputs.view(0), false));
    attention_forward({}, params, kKey, inputs.view(0), inputs.view(1), inputs.view(2), out, statistics,
                      scratch.workspace());
    scratch_intact = scratch_intact && scratch.intact();
  }
  void backward(const Target& dq, const Target& dk, const Target& dv) {
    const AttentionParams params = params_of(c);
    Scratch scratch(attention_workspace_bytes(DeviceKind::cpu, params, inputs.view(0), true));
    attention_backward({}, params, kKey, inputs.view(0), inputs.view(1), inputs.view(2), out, statistics,
                       dout, dq, dk, dv, scratch.workspace());
    scratch_intact = scratch_intact && scratch.intact();
  }
  void backward(Write write = Write::overwrite) {
    backward({gradients.view(0), write}, {gradients.view(1), write}, {gradients.view(2), write});
  }
  /// log(sum(exp(scores))) of each row.
  std::vector<double> log_sum_exp() const {
    std::vector<double> all;
    for (std::int64_t row = 0; row < statistics.numel() / 2; ++row)
      all.push_back(statistics.get(2 * row) - std::log(statistics.get(2 * row + 1)));
    return all;
  }
  Reference reference() const {
    return {c, values(inputs.view(0)), values(inputs.view(1)), values(inputs.view(2)), dout.values()};
  }
  /// Everything that was computed, in one row.
  std::vector<double> results() const {
    std::vector<double> all = out.values();
    for (const std::vector<double>& more : {statistics.values(), values(gradients.view(0)),
                                            values(gradients.view(1)), values(gradients.view(2))}) {
      all.insert(all.end(), more.begin(), more.end());
    }
    return all;
  }
};

/// Largest error in units of the largest expected value (or 1); NaN counts as infinite.
double error(const std::vector<double>& actual, const std::vector<double>& expected) {
  double worst = 0, largest = 1;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    largest = std::max(largest, std::fabs(expected[i]));
    const double difference = std::fabs(actual[i] - expected[i]);
    worst = std::isnan(difference) ? std::numeric_limits<double>::infinity() : std::max(worst, difference);
  }
  return worst / largest;
}

/// Without Catch's habit of printing both operands.
bool same(const std::vector<double>& a, const std::vector<double>& b) { return a == b; }

double tolerance(DType dtype) {
  switch (dtype) {
    case DType::float64:
      return 1e-13;
    case DType::float32:
      return 2e-6;
    default:
      return 4.0 * unit_roundoff(dtype);
  }
}

std::string describe(const Case& c) {
  const Shape& s = c.shape;
  std::ostringstream text;
  text << '(' << s.batch << ", " << s.heads << ", " << s.length << ", " << s.size << ") " << name_of(c.dtype)
       << (c.causal ? " causal" : " full") << " p " << c.dropout << " storage "
       << static_cast<int>(c.storage);
  return text.str();
}

void check_against_formula(const Case& c) {
  INFO(describe(c));
  Run run(c);
  run.forward();
  run.backward();
  const Reference expected = run.reference();
  const double bound = tolerance(c.dtype);
  CHECK(error(run.out.values(), expected.out) <= bound);
  CHECK(error(run.log_sum_exp(), expected.lse) <= (c.dtype == DType::float64 ? 1e-14 : 1e-6));
  CHECK(error(values(run.gradients.view(0)), expected.dq) <= bound);
  CHECK(error(values(run.gradients.view(1)), expected.dk) <= bound);
  CHECK(error(values(run.gradients.view(2)), expected.dv) <= bound);
  CHECK(run.out.guards_intact());
  CHECK(run.statistics.guards_intact());
  CHECK(run.gradients.guards_intact());
  CHECK(run.scratch_intact);
}

}  // namespace

TEST_CASE("attention follows its formula for every length", "[kernels][attention]") {
  for (const std::int64_t length : {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 130, 200}) {
    for (const bool causal : {true, false}) {
      for (const double dropout : {0.0, 0.3}) {
        check_against_formula({{1, 2, length, 16}, causal, dropout});
      }
    }
  }
}

TEST_CASE("attention follows its formula for every head size", "[kernels][attention]") {
  for (const std::int64_t size :
       {1, 2, 3, 8, 15, 16, 17, 24, 31, 32, 33, 48, 64, 80, 96, 100, 128, 255, 256}) {
    for (const DType dtype : {DType::float32, DType::float64, DType::bfloat16, DType::float16}) {
      check_against_formula({{1, 2, 37, size}, true, 0.0, dtype});
      check_against_formula({{2, 1, 70, size}, size % 2 == 0, 0.2, dtype, Storage::packed});
    }
  }
}

TEST_CASE("attention takes strided operands", "[kernels][attention]") {
  for (const Storage storage : {Storage::heads_first, Storage::rows_first, Storage::packed}) {
    for (const DType dtype : {DType::float32, DType::float64, DType::bfloat16, DType::float16}) {
      for (const Shape& shape :
           {Shape{2, 3, 67, 16}, Shape{3, 2, 20, 5}, Shape{1, 1, 130, 64}, Shape{2, 2, 1, 32}}) {
        check_against_formula({shape, true, 0.0, dtype, storage});
        check_against_formula({shape, false, 0.5, dtype, storage});
      }
    }
  }
}

TEST_CASE("attention with everything dropped gives zeros", "[kernels][attention]") {
  Run run({{1, 2, 33, 16}, true, 1.0});
  run.forward();
  run.backward();
  CHECK(error(run.out.values(), std::vector<double>(static_cast<std::size_t>(run.out.numel()), 0.0)) == 0.0);
  for (int part = 0; part < 3; ++part) {
    const std::vector<double> gradient = values(run.gradients.view(part));
    CHECK(error(gradient, std::vector<double>(gradient.size(), 0.0)) == 0.0);
  }
}

TEST_CASE("attention gradients agree with central differences", "[kernels][attention][gradcheck]") {
  for (const bool causal : {true, false}) {
    for (const double dropout : {0.0, 0.4}) {
      for (const Shape& shape : {Shape{1, 2, 5, 3}, Shape{2, 1, 66, 2}}) {
        CAPTURE(causal, dropout, shape.length);
        Run run({shape, causal, dropout, DType::float64});
        run.forward();
        run.backward();
        const std::vector<double> weights = run.dout.values();
        const auto loss = [&] {
          run.forward();
          double sum = 0;
          for (std::int64_t i = 0; i < run.out.numel(); ++i)
            sum += weights[static_cast<std::size_t>(i)] * run.out.get(i);
          return sum;
        };
        constexpr double kStep = 1e-6;
        for (int part = 0; part < 3; ++part) {
          const View view = run.inputs.view(part);
          const std::vector<double> gradient = values(run.gradients.view(part));
          double worst = 0;
          for (std::int64_t i = 0; i < view.numel(); i += 1 + view.numel() / 40) {
            double& x = view.as<double>()[offset_of(view, i)];
            const double before = x;
            x = before + kStep;
            const double above = loss();
            x = before - kStep;
            const double below = loss();
            x = before;
            worst = std::max(
                worst, std::fabs((above - below) / (2.0 * kStep) - gradient[static_cast<std::size_t>(i)]));
          }
          CAPTURE(part);
          CHECK(worst < 1e-7);
        }
      }
    }
  }
}

TEST_CASE("attention gradients are added where told", "[kernels][attention]") {
  for (const DType dtype : {DType::float32, DType::float64, DType::bfloat16, DType::float16}) {
    for (const std::int64_t size : {16, 72}) {
      CAPTURE(name_of(dtype), size);
      Run run({{1, 2, 70, size}, true, 0.0, dtype, Storage::packed});
      run.forward();
      for (int part = 0; part < 3; ++part) {
        fill(run.gradients.view(part), [&](std::int64_t i) { return pseudo_random(i, 10); });
      }
      const std::vector<double> before = values(run.gradients.view(0));
      run.backward(Write::accumulate);
      const Reference reference = run.reference();
      for (int part = 0; part < 3; ++part) {
        std::vector<double> expected = part == 0 ? reference.dq : part == 1 ? reference.dk : reference.dv;
        for (std::size_t i = 0; i < expected.size(); ++i) expected[i] += before[i];
        CHECK(error(values(run.gradients.view(part)), expected) <= tolerance(dtype));
      }
    }
  }
}

TEST_CASE("attention gives any subset of its gradients, with the same bits", "[kernels][attention]") {
  for (const Shape& shape : {Shape{1, 1, 130, 16}, Shape{2, 3, 66, 16}}) {
    for (const int threads : {1, 4}) {
      const ThreadsScope scope(threads);
      Run all({shape, true, 0.1});
      all.forward();
      all.backward();
      for (int subset = 0; subset < 8; ++subset) {
        CAPTURE(shape.length, threads, subset);
        Run some(all.c);
        some.forward();
        Target targets[3];
        for (int part = 0; part < 3; ++part) {
          if ((subset >> part & 1) != 0) targets[part].view = some.gradients.view(part);
        }
        some.backward(targets[0], targets[1], targets[2]);
        for (int part = 0; part < 3; ++part) {
          if ((subset >> part & 1) != 0)
            CHECK(same(values(targets[part].view), values(all.gradients.view(part))));
        }
      }
    }
  }
}

TEST_CASE("attention does not depend on the number of threads", "[kernels][attention]") {
  for (const Case& c : {Case{{1, 1, 300, 32}, true, 0.1}, Case{{1, 3, 200, 17}, false, 0.0, DType::bfloat16},
                        Case{{2, 5, 129, 64}, true, 0.2, DType::float32, Storage::packed},
                        Case{{1, 2, 257, 8}, true, 0.0, DType::float64}}) {
    INFO(describe(c));
    std::vector<double> first;
    for (const int threads : {1, 2, 3, 4, 16}) {
      const ThreadsScope scope(threads);
      CAPTURE(threads);
      Run run(c);
      run.forward();
      run.backward();
      if (first.empty()) first = run.results();
      CHECK(same(run.results(), first));
      CHECK(run.scratch_intact);
    }
  }
}

TEST_CASE("attention honours a workspace measured under another number of threads", "[kernels][attention]") {
  const Case c{{1, 1, 1000, 16}};
  Run before(c), after(c);
  before.forward();
  before.backward();
  after.forward();
  for (const int measured : {1, 2, 5}) {
    for (const int used : {1, 2, 5, 64}) {
      CAPTURE(measured, used);
      const ThreadsScope scope(measured);
      Scratch scratch(attention_workspace_bytes(DeviceKind::cpu, params_of(c), after.inputs.view(0), true));
      set_num_threads(used);
      attention_backward({}, params_of(c), kKey, after.inputs.view(0), after.inputs.view(1),
                         after.inputs.view(2), after.out, after.statistics, after.dout,
                         {after.gradients.view(0)}, {after.gradients.view(1)}, {after.gradients.view(2)},
                         scratch.workspace());
      CHECK(scratch.intact());
      CHECK(same(after.results(), before.results()));
    }
  }
}

TEST_CASE("attention's scratch memory grows linearly with the length", "[kernels][attention]") {
  const auto bytes = [](std::int64_t length, bool backward) {
    const KernelTensor q(DType::float32, {1, 2, length, 32});
    return attention_workspace_bytes(DeviceKind::cpu, {}, q, backward);
  };
  CHECK(bytes(2048, false) == bytes(128, false));
  CHECK(bytes(4096, true) - bytes(2048, true) <= 2 * (bytes(2048, true) - bytes(1024, true)));
  CHECK(bytes(0, true) == 0);
}

TEST_CASE("attention of nothing touches nothing", "[kernels][attention]") {
  for (const Shape& shape : {Shape{0, 2, 5, 4}, Shape{1, 0, 5, 4}, Shape{2, 2, 0, 4}}) {
    Run run({shape});
    run.forward();
    run.backward();
    CHECK(run.out.guards_intact());
    CHECK(run.gradients.guards_intact());
  }
}

TEST_CASE("attention keeps NaN where it belongs", "[kernels][attention]") {
  constexpr std::int64_t kLength = 70, kSize = 8;
  Run run({{1, 1, kLength, kSize}, true});
  run.inputs.view(0).as<float>()[40 * kSize] = std::numeric_limits<float>::quiet_NaN();
  run.forward();
  bool right = true;
  for (std::int64_t i = 0; i < kLength; ++i) right = right && std::isnan(run.out.get(i * kSize)) == (i == 40);
  CHECK(right);
}

TEST_CASE("attention passes over a whole tile of infinitely unlikely keys", "[kernels][attention]") {
  constexpr std::int64_t kLength = 100;
  Run run({{1, 1, kLength, 1}, false});
  fill(run.inputs.view(0), [](std::int64_t) { return 1.0; });
  fill(run.inputs.view(1),
       [](std::int64_t i) { return i < 70 ? -std::numeric_limits<double>::infinity() : 0.0; });
  fill(run.inputs.view(2), [](std::int64_t i) { return static_cast<double>(i); });
  run.forward();
  CHECK(run.out.get(0) == Approx(84.5));
  CHECK(run.log_sum_exp()[0] == Approx(std::log(30.0)));
}

TEST_CASE("attention survives scores whose exponentials overflow", "[kernels][attention]") {
  constexpr std::int64_t kLength = 65, kSize = 4;
  Run run({{1, 1, kLength, kSize}, true});
  fill(run.inputs.view(0), [](std::int64_t i) { return 1000.0 * pseudo_random(i, 20); });
  run.forward();
  run.backward();
  const std::vector<double> all = run.results();
  CHECK(std::all_of(all.begin(), all.end(), [](double x) { return std::isfinite(x); }));
  const std::vector<double> q = values(run.inputs.view(0)), k = values(run.inputs.view(1));
  double worst = 0;
  for (std::int64_t i = 0; i < kLength; ++i) {
    double largest = -std::numeric_limits<double>::infinity(), sum = 0;
    std::vector<double> scores;
    for (std::int64_t j = 0; j <= i; ++j) {
      double score = 0;
      for (std::int64_t d = 0; d < kSize; ++d) {
        score +=
            0.5 * q[static_cast<std::size_t>(i * kSize + d)] * k[static_cast<std::size_t>(j * kSize + d)];
      }
      scores.push_back(score);
      largest = std::max(largest, score);
    }
    for (const double score : scores) sum += std::exp(score - largest);
    worst =
        std::max(worst, std::fabs(run.log_sum_exp()[static_cast<std::size_t>(i)] - largest - std::log(sum)));
  }
  CHECK(worst < 1e-3);
}
