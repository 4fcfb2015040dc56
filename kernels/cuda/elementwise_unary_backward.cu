// dx (=, +=) dy f'(x), and the product with a number of the device: see elementwise.cuh for how memory is
// accessed.
#include "cuda/elementwise.cuh"
#include "cuda/math.cuh"

namespace reprise::kernels::cuda {

namespace {

/// in: dy and what the derivative reads, if anything.
template <class Function, class C>
struct UnaryBackward : Operation<Function::reads == Reads::nothing ? 1 : 2, 1, kAdding, C> {
  static constexpr int kInputs = Function::reads == Reads::nothing ? 1 : 2;
  C alpha;
  explicit UnaryBackward(double value) : alpha(static_cast<C>(value)) {}
  __device__ __forceinline__ void operator()(const C (&in)[kInputs], C (&out)[1]) const {
    out[0] = in[0] * Function::derivative(in[kInputs - 1], alpha);
  }
};

/// in: x.
template <class C>
struct Scale : Operation<1, 1, kAdding, C> {
  const C* factor;
  explicit Scale(const ConstView& value) : factor(value.as<C>()) {}
  __device__ __forceinline__ void operator()(const C (&in)[1], C (&out)[1]) const {
    out[0] = in[0] * *factor;
  }
};

}  // namespace

void scale(const Queue& queue, const ConstView& x, const ConstView& factor, const Target& y) {
  constexpr const char* kOperation = "scale";
  if (!y || y.view.numel() == 0) return;
  dispatch_computed(kOperation, x.dtype, [&]<class C>() {
    using Op = Scale<C>;
    launch_uniform(kOperation, queue, x.dtype, Op(factor), Problem<Op>({y}, {&x}));
  });
}

void unary_backward(const Queue& queue, Unary function, double alpha, const ConstView& x, const ConstView& y,
                    const ConstView& dy, const Target& dx) {
  constexpr const char* kOperation = "unary_backward";
  if (!dx || dx.view.numel() == 0) return;
  dispatch_computed(kOperation, dx.view.dtype, [&]<class C>() {
    functors::dispatch<Math, C>(function, alpha, [&]<class Function>() {
      using Op = UnaryBackward<Function, C>;
      const auto inputs = [&] {
        if constexpr (Op::kInputs == 1)
          return std::array{&dy};
        else
          return std::array{&dy, Function::reads == Reads::output ? &y : &x};
      };
      launch_uniform(kOperation, queue, dx.view.dtype, Op(alpha), Problem<Op>({dx}, inputs()));
    });
  });
}

}  // namespace reprise::kernels::cuda
