// da (=, +=) dy df/da and db likewise, in one pass: see elementwise.cuh for how memory is accessed.
#include "cuda/elementwise.cuh"
#include "cuda/math.cuh"

namespace reprise::kernels::cuda {

namespace {

/// in: dy, a, b; out: da, db.
template <class Function, class C>
struct BinaryBackward : Operation<3, 2, kAdding | kRows, C> {
  bool want_a, want_b;
  __device__ __forceinline__ void operator()(const C (&in)[3], C (&out)[2]) const {
    out[0] = want_a ? in[0] * Function::derivative_a(in[1], in[2]) : C(0);
    out[1] = want_b ? in[0] * Function::derivative_b(in[1], in[2]) : C(0);
  }
};

/// Whether the derivatives by a and by b read a.
constexpr bool reads_a(Binary function, bool want_a, bool want_b) {
  switch (function) {
    case Binary::add:
    case Binary::sub:
      return false;
    case Binary::mul:
    case Binary::div:
      return want_b;
    default:
      return want_a || want_b;
  }
}

constexpr bool reads_b(Binary function, bool want_a, bool want_b) {
  switch (function) {
    case Binary::add:
    case Binary::sub:
      return false;
    case Binary::mul:
      return want_a;
    default:
      return want_a || want_b;
  }
}

}  // namespace

void binary_backward(const Queue& queue, Binary function, const ConstView& a, const ConstView& b,
                     const ConstView& dy, const Target& da, const Target& db) {
  constexpr const char* kOperation = "binary_backward";
  const bool want_a = static_cast<bool>(da), want_b = static_cast<bool>(db);
  if ((!want_a && !want_b) || dy.numel() == 0) return;
  // dy stands in for what no derivative reads; the second access hits the cache.
  const ConstView& in_a = reads_a(function, want_a, want_b) ? a : dy;
  const ConstView& in_b = reads_b(function, want_a, want_b) ? b : dy;
  dispatch_computed(kOperation, dy.dtype, [&]<class C>() {
    functors::dispatch<Math, C>(function, [&]<class Function>() {
      using Op = BinaryBackward<Function, C>;
      launch_uniform(kOperation, queue, dy.dtype, Op{{}, want_a, want_b},
                     Problem<Op>({da, db}, {&dy, &in_a, &in_b}));
    });
  });
}

}  // namespace reprise::kernels::cuda
