// y = a (op) b, and y (=, +=) condition ? a : b: see elementwise.cuh for how memory is accessed.
#include "cuda/elementwise.cuh"

namespace reprise::kernels::cuda {

namespace {

/// out = a (op) b.
template <class Function, class C>
struct Comparison : Operation<2, 1, kRows, C, bool> {
  __device__ __forceinline__ void operator()(const C (&in)[2], bool (&out)[1]) const {
    out[0] = Function::value(in[0], in[1]);
  }
};

/// in: the condition, and a or b where they are not zeros.
template <class C, bool has_a, bool has_b>
struct Selection : Operation<1 + (has_a ? 1 : 0) + (has_b ? 1 : 0), 1, kAdding | kRows | kCondition, C> {
  static constexpr int kInputs = 1 + (has_a ? 1 : 0) + (has_b ? 1 : 0);
  __device__ __forceinline__ void operator()(const C (&in)[kInputs], C (&out)[1]) const {
    const C if_true = has_a ? in[has_a ? 1 : 0] : C(0), if_false = has_b ? in[kInputs - 1] : C(0);
    out[0] = in[0] != C(0) ? if_true : if_false;
  }
};

/// In packs of the types E<T> for T, the trained type `dtype`, else by elements.
template <template <class> class E, class Op>
void launch_typed(const char* operation, const Queue& queue, DType dtype, const Op& op,
                  const Problem<Op>& problem) {
  if constexpr (std::is_same_v<typename Op::Compute, float>)
    dispatch_trained(operation, dtype, [&]<class T>() { launch_packs<E<T>>(operation, queue, op, problem); });
  else
    launch_elements(operation, queue, op, problem);
}

template <class T>
using CompareElements = Elements<bool, T, T>;
template <class T>
using SelectElements = Elements<T, bool, T>;

}  // namespace

void compare(const Queue& queue, Compare function, const ConstView& a, const ConstView& b, const View& y) {
  if (y.numel() == 0) return;
  dispatch_compute_type(a.dtype, [&]<class C>() {
    functors::dispatch<C>(function, [&]<class Function>() {
      using Op = Comparison<Function, C>;
      launch_typed<CompareElements>("compare", queue, a.dtype, Op(), Problem<Op>({Target{y}}, {&a, &b}));
    });
  });
}

void where(const Queue& queue, const ConstView& condition, const ConstView& a, const ConstView& b,
           const Target& y) {
  if (!y || y.view.numel() == 0) return;
  const DType dtype = y.view.dtype;
  dispatch_compute_type(dtype, [&]<class C>() {
    const auto select = [&]<bool has_a, bool has_b>(const auto&... in) {
      using Op = Selection<C, has_a, has_b>;
      launch_typed<SelectElements>("where", queue, dtype, Op(), Problem<Op>({y}, {&condition, &in...}));
    };
    if (a && b) return select.template operator()<true, true>(a, b);
    if (a) return select.template operator()<true, false>(a);
    if (b) return select.template operator()<false, true>(b);
    if (y.write == Write::overwrite) fill(queue, 0, y.view);
  });
}

}  // namespace reprise::kernels::cuda
