// The elementwise functions of CUDA beside the CPU's.
#include "reprise/kernels/elementwise.h"

#include "harness.h"
#include "reprise/error.h"

using namespace reprise;
using namespace reprise::kernels;
using namespace reprise::test;

namespace {

struct Shape {
  Twin::Sizes sizes;
  Twin::Sizes strides = {};
  std::int64_t offset = 0;
  Twin make(DType dtype) const { return Twin(dtype, sizes, strides, offset); }
};

/// Inputs and outputs of a call, by their layouts.
struct Layouts {
  Shape y, a, b;
};

const std::vector<Layouts> kLayouts = {
    {{{0}}, {{0}}, {{0}}},
    {{{1}}, {{1}}, {{1}}},
    {{{31}}, {{31}}, {{31}}},
    {{{33}}, {{33}}, {{33}}},
    {{{5003}}, {{5003}}, {{5003}}},                       // packs and a rest, several blocks
    {{{70}, {}, 1}, {{70}, {}, 1}, {{70}, {}, 1}},        // misaligned
    {{{1100}, {}, 8}, {{1100}, {}, 8}, {{1100}, {}, 1}},  // one operand is
    {{{9, 64}}, {{9, 64}}, {{9, 64}, {0, 1}}},            // a bias
    {{{9, 33}}, {{9, 33}}, {{9, 33}, {0, 1}}},            // of an odd width
    {{{9, 64}}, {{9, 64}, {1, 0}}, {{9, 64}}},            // a number for each row
    {{{4, 3, 16}}, {{4, 3, 16}, {48, 0, 1}}, {{4, 3, 16}, {0, 16, 1}}},
    {{{6, 8}}, {{6, 8}, {0, 0}}, {{6, 8}}},                        // a scalar
    {{{4, 32}, {48, 1}}, {{4, 32}, {40, 1}}, {{4, 32}, {64, 1}}},  // slices
    {{{33, 17}, {1, 33}}, {{33, 17}}, {{33, 17}, {1, 33}}},        // transposes
    {{{2, 6, 5, 4}, {120, 1, 24, 6}}, {{2, 6, 5, 4}}, {{2, 6, 5, 4}, {120, 1, 24, 6}}},
};

constexpr Unary kUnary[] = {Unary::neg,        Unary::abs,        Unary::exp,       Unary::log,
                            Unary::sqrt,       Unary::rsqrt,      Unary::square,    Unary::reciprocal,
                            Unary::tanh,       Unary::sigmoid,    Unary::relu,      Unary::gelu_tanh,
                            Unary::gelu_erf,   Unary::silu,       Unary::sin,       Unary::cos,
                            Unary::add_scalar, Unary::mul_scalar, Unary::pow_scalar};
constexpr Binary kBinary[] = {Binary::add, Binary::sub,     Binary::mul,    Binary::div,
                              Binary::pow, Binary::maximum, Binary::minimum};
constexpr Compare kCompare[] = {Compare::equal,      Compare::not_equal, Compare::less,
                                Compare::less_equal, Compare::greater,   Compare::greater_equal};
constexpr DType kFloating[] = {DType::float32, DType::bfloat16, DType::float16, DType::float64};
constexpr DType kAll[] = {DType::float32, DType::bfloat16, DType::float16, DType::float64,
                          DType::int32,   DType::int64,    DType::boolean};
constexpr Write kWrites[] = {Write::overwrite, Write::accumulate};

bool needs_positive(Unary function) {
  return function == Unary::log || function == Unary::sqrt || function == Unary::rsqrt ||
         function == Unary::reciprocal || function == Unary::pow_scalar;
}
bool takes_integers(Unary function) {
  return function == Unary::neg || function == Unary::abs || function == Unary::square ||
         function == Unary::relu || function == Unary::add_scalar || function == Unary::mul_scalar;
}

/// Numbers between 0.25 and about 3, so that no function amplifies rounding.
Twin& positive(Twin& twin, int seed) {
  return twin.assign([=](std::int64_t i) { return 0.25 + static_cast<double>((i * 37 + seed) % 89) / 32; });
}

}  // namespace

TEST_CASE("cuda unary functions and their gradients", "[simt][cuda]") {
  Queues queues;
  for (const Unary function : kUnary) {
    for (const DType dtype : kFloating) {
      for (const Layouts& layouts : kLayouts) {
        for (const double alpha : {0.75, 3.0}) {
          if (alpha == 3.0 && function != Unary::pow_scalar) continue;
          CAPTURE(static_cast<int>(function), name_of(dtype), layouts.y.sizes, layouts.a.strides, alpha);
          Twin x = layouts.a.make(dtype), y = layouts.y.make(dtype), dy = layouts.b.make(dtype);
          needs_positive(function) ? positive(x, 3) : x.randomise(3, 2.0);
          dy.randomise(4);
          cpu::unary_forward(queues.cpu(), function, alpha, x.cpu(), y.cpu());
          cuda::unary_forward(queues.cuda(), function, alpha, x.cuda(), y.cuda());
          y.check_close();
          // Both sides differentiate the same y.
          Twin output = layouts.a.make(dtype), dx = layouts.y.make(dtype);
          needs_positive(function) ? positive(output, 5) : output.randomise(5, 0.5);
          dx.randomise(6);
          for (const Write write : kWrites) {
            cpu::unary_backward(queues.cpu(), function, alpha, x.cpu(), output.cpu(), dy.cpu(),
                                dx.cpu(write));
            cuda::unary_backward(queues.cuda(), function, alpha, x.cuda(), output.cuda(), dy.cuda(),
                                 dx.cuda(write));
            dx.check_close();
          }
        }
      }
    }
  }
}

TEST_CASE("cuda scales by a number of the device", "[simt][cuda]") {
  Queues queues;
  for (const DType dtype : kFloating) {
    for (const Layouts& layouts : kLayouts) {
      CAPTURE(name_of(dtype), layouts.y.sizes, layouts.a.strides);
      Twin x = layouts.a.make(dtype), y = layouts.y.make(dtype);
      Twin factor(dtype == DType::float64 ? DType::float64 : DType::float32, {});
      x.randomise(3, 2.0);
      y.randomise(4);
      factor.assign([](std::int64_t) { return -0.3; });
      for (const Write write : kWrites) {
        cpu::scale(queues.cpu(), x.cpu(), factor.cpu(), y.cpu(write));
        cuda::scale(queues.cuda(), x.cuda(), factor.cuda(), y.cuda(write));
        y.check_close();
      }
    }
  }
}

TEST_CASE("cuda unary functions of special values", "[simt][cuda]") {
  constexpr double kInfinity = std::numeric_limits<double>::infinity(), kNaN = std::nan("");
  const std::vector<double> special = {kNaN, kInfinity, -kInfinity, 0.0,    -0.0, 1e-30, -1e-30, 87.0,
                                       88.5, -88.5,     100.0,      -100.0, 1e4,  -1e4,  16.0,   -16.0};
  Queues queues;
  for (const Unary function : kUnary) {
    Twin x(DType::float32, {16}), y(DType::float32, {16});
    x.assign([&](std::int64_t i) { return special[static_cast<std::size_t>(i)]; });
    CAPTURE(static_cast<int>(function));
    cpu::unary_forward(queues.cpu(), function, 2.5, x.cpu(), y.cpu());
    cuda::unary_forward(queues.cuda(), function, 2.5, x.cuda(), y.cuda());
    y.check_close();
    y.upload();  // the backward begins with the same values on both sides
    Twin dy(DType::float32, {16}), dx(DType::float32, {16});
    dy.randomise(1);
    cpu::unary_backward(queues.cpu(), function, 2.5, x.cpu(), y.cpu(), dy.cpu(), dx.cpu(Write::overwrite));
    cuda::unary_backward(queues.cuda(), function, 2.5, x.cuda(), y.cuda(), dy.cuda(),
                         dx.cuda(Write::overwrite));
    dx.check_close();
  }
}

TEST_CASE("cuda maximum and minimum pass NaN on, forward and backward", "[simt][cuda]") {
  constexpr double kInfinity = std::numeric_limits<double>::infinity(), kNaN = std::nan("");
  const std::vector<double> special = {kNaN, kInfinity, -kInfinity, 1.0, 2.0};
  Queues queues;
  for (const Binary function : {Binary::maximum, Binary::minimum}) {
    for (const DType dtype : kFloating) {
      Twin a(dtype, {25}), b(dtype, {25}), y(dtype, {25}), dy(dtype, {25}), da(dtype, {25}), db(dtype, {25});
      a.assign([&](std::int64_t i) { return special[static_cast<std::size_t>(i / 5)]; });
      b.assign([&](std::int64_t i) { return special[static_cast<std::size_t>(i % 5)]; });
      dy.randomise(1);
      CAPTURE(static_cast<int>(function), name_of(dtype));
      cpu::binary_forward(queues.cpu(), function, a.cpu(), b.cpu(), y.cpu());
      cuda::binary_forward(queues.cuda(), function, a.cuda(), b.cuda(), y.cuda());
      cpu::binary_backward(queues.cpu(), function, a.cpu(), b.cpu(), dy.cpu(), da.cpu(Write::overwrite),
                           db.cpu(Write::overwrite));
      cuda::binary_backward(queues.cuda(), function, a.cuda(), b.cuda(), dy.cuda(), da.cuda(Write::overwrite),
                            db.cuda(Write::overwrite));
      for (const Twin* result : {&y, &da, &db}) result->check_close();
    }
  }
}

TEST_CASE("cuda unary functions of integers", "[simt][cuda]") {
  Queues queues;
  for (const Unary function : kUnary) {
    for (const DType dtype : {DType::int32, DType::int64, DType::boolean}) {
      Twin x(dtype, {67}), y(dtype, {67});
      x.assign([](std::int64_t i) { return static_cast<double>(i - 30); });
      CAPTURE(static_cast<int>(function), name_of(dtype));
      if (!takes_integers(function) || dtype == DType::boolean) {
        CHECK_THROWS_AS(cuda::unary_forward(queues.cuda(), function, 3, x.cuda(), y.cuda()), TypeError);
        continue;
      }
      cpu::unary_forward(queues.cpu(), function, 3, x.cpu(), y.cpu());
      cuda::unary_forward(queues.cuda(), function, 3, x.cuda(), y.cuda());
      y.check_equal();
    }
  }
}

TEST_CASE("cuda binary functions and their gradients", "[simt][cuda]") {
  Queues queues;
  for (const Binary function : kBinary) {
    for (const DType dtype : kAll) {
      for (const Layouts& layouts : kLayouts) {
        CAPTURE(static_cast<int>(function), name_of(dtype), layouts.y.sizes, layouts.a.strides,
                layouts.b.strides);
        Twin a = layouts.a.make(dtype), b = layouts.b.make(dtype), y = layouts.y.make(dtype);
        positive(a, 3);
        positive(b, 3 + 37 * 5);  // some elements are equal
        if (dtype == DType::boolean || (function == Binary::pow && !is_floating(dtype))) {
          if (y.cuda().numel() > 0)
            CHECK_THROWS_AS(cuda::binary_forward(queues.cuda(), function, a.cuda(), b.cuda(), y.cuda()),
                            TypeError);
          continue;
        }
        cpu::binary_forward(queues.cpu(), function, a.cpu(), b.cpu(), y.cpu());
        cuda::binary_forward(queues.cuda(), function, a.cuda(), b.cuda(), y.cuda());
        y.check_close();
        if (!is_floating(dtype)) continue;
        Twin dy = layouts.a.make(dtype), da = layouts.y.make(dtype), db = layouts.y.make(dtype);
        dy.randomise(7);
        da.randomise(8);
        db.randomise(9);
        for (const Write write : kWrites) {
          cpu::binary_backward(queues.cpu(), function, a.cpu(), b.cpu(), dy.cpu(), da.cpu(write),
                               db.cpu(write));
          cuda::binary_backward(queues.cuda(), function, a.cuda(), b.cuda(), dy.cuda(), da.cuda(write),
                                db.cuda(write));
          da.check_close();
          db.check_close();
        }
        cpu::binary_backward(queues.cpu(), function, a.cpu(), b.cpu(), dy.cpu(), da.cpu(Write::accumulate),
                             {});
        cuda::binary_backward(queues.cuda(), function, a.cuda(), b.cuda(), dy.cuda(),
                              da.cuda(Write::accumulate), {});
        da.check_close();
        cpu::binary_backward(queues.cpu(), function, a.cpu(), b.cpu(), dy.cpu(), {},
                             db.cpu(Write::overwrite));
        cuda::binary_backward(queues.cuda(), function, a.cuda(), b.cuda(), dy.cuda(), {},
                              db.cuda(Write::overwrite));
        db.check_close();
      }
    }
  }
}

TEST_CASE("cuda gradients of sums need no operands", "[simt][cuda]") {
  Queues queues;
  for (const Binary function : {Binary::add, Binary::sub}) {
    Twin dy(DType::bfloat16, {333}), da(DType::bfloat16, {333}), db(DType::bfloat16, {333});
    dy.randomise(1);
    cpu::binary_backward(queues.cpu(), function, {}, {}, dy.cpu(), da.cpu(Write::overwrite),
                         db.cpu(Write::overwrite));
    cuda::binary_backward(queues.cuda(), function, {}, {}, dy.cuda(), da.cuda(Write::overwrite),
                          db.cuda(Write::overwrite));
    da.check_equal();
    db.check_equal();
  }
}

TEST_CASE("cuda elementwise results may replace their inputs", "[simt][cuda]") {
  Queues queues;
  for (const DType dtype : kFloating) {
    Twin x(dtype, {5003});
    x.randomise(2);
    cpu::unary_forward(queues.cpu(), Unary::silu, 0, x.cpu(), x.cpu());
    cuda::unary_forward(queues.cuda(), Unary::silu, 0, x.cuda(), x.cuda());
    cpu::binary_forward(queues.cpu(), Binary::mul, x.cpu(), x.cpu(), x.cpu());
    cuda::binary_forward(queues.cuda(), Binary::mul, x.cuda(), x.cuda(), x.cuda());
    x.check_close();
  }
}

TEST_CASE("cuda comparisons", "[simt][cuda]") {
  Queues queues;
  for (const Compare function : kCompare) {
    for (const DType dtype : kAll) {
      for (const Layouts& layouts : kLayouts) {
        CAPTURE(static_cast<int>(function), name_of(dtype), layouts.y.sizes, layouts.b.strides);
        Twin a = layouts.a.make(dtype), b = layouts.b.make(dtype), y = layouts.y.make(DType::boolean);
        const auto numbers = [&](std::int64_t i) {
          return is_floating(dtype) && i % 11 == 3 ? std::nan("") : static_cast<double>(i % 3);
        };
        a.assign(numbers);
        b.assign([&](std::int64_t i) { return numbers(i + i / 5); });
        y.assign([](std::int64_t) { return 0; });
        cpu::compare(queues.cpu(), function, a.cpu(), b.cpu(), y.cpu());
        cuda::compare(queues.cuda(), function, a.cuda(), b.cuda(), y.cuda());
        y.check_equal();
      }
    }
  }
}

TEST_CASE("cuda selection by a condition", "[simt][cuda]") {
  Queues queues;
  for (const DType dtype : kAll) {
    for (const Layouts& layouts : kLayouts) {
      for (const int given : {0, 1, 2, 3}) {
        for (const Write write : kWrites) {
          CAPTURE(name_of(dtype), layouts.y.sizes, layouts.b.strides, given, static_cast<int>(write));
          Twin condition = layouts.b.make(DType::boolean), a = layouts.a.make(dtype),
               b = layouts.y.make(dtype), y = layouts.y.make(dtype);
          condition.assign([](std::int64_t i) { return static_cast<double>(i * 7 % 3 == 1); });
          a.randomise(1);
          b.randomise(2);
          y.randomise(3);
          cpu::where(queues.cpu(), condition.cpu(), given & 1 ? a.cpu() : View{},
                     given & 2 ? b.cpu() : View{}, y.cpu(write));
          cuda::where(queues.cuda(), condition.cuda(), given & 1 ? a.cuda() : View{},
                      given & 2 ? b.cuda() : View{}, y.cuda(write));
          y.check_equal();
        }
      }
    }
  }
}
