// y = f(x): see elementwise.cuh for how memory is accessed.
#include "cuda/elementwise.cuh"
#include "cuda/math.cuh"

namespace reprise::kernels::cuda {

namespace {

/// out = f(in).
template <class Function, class C>
struct UnaryForward : Operation<1, 1, kNothing, C> {
  C alpha;
  explicit UnaryForward(double value) : alpha(static_cast<C>(value)) {}
  __device__ __forceinline__ void operator()(const C (&in)[1], C (&out)[1]) const {
    out[0] = Function::value(in[0], alpha);
  }
};

template <class Function, class C>
void forward(const char* operation, const Queue& queue, double alpha, const ConstView& x, const View& y) {
  using Op = UnaryForward<Function, C>;
  launch_uniform(operation, queue, y.dtype, Op(alpha), Problem<Op>({Target{y}}, {&x}));
}

}  // namespace

void unary_forward(const Queue& queue, Unary function, double alpha, const ConstView& x, const View& y) {
  constexpr const char* kOperation = "unary_forward";
  if (y.numel() == 0) return;
  const auto integer = [&]<class C>() {
    functors::dispatch<Math, C>(function, alpha, [&]<class Function>() {
      if constexpr (Function::integers)
        forward<Function, C>(kOperation, queue, alpha, x, y);
      else
        refuse(kOperation, y.dtype);
    });
  };
  if (y.dtype == DType::int32) return integer.template operator()<std::int32_t>();
  if (y.dtype == DType::int64) return integer.template operator()<std::int64_t>();
  dispatch_computed(kOperation, y.dtype, [&]<class C>() {
    functors::dispatch<Math, C>(
        function, alpha, [&]<class Function>() { forward<Function, C>(kOperation, queue, alpha, x, y); });
  });
}

}  // namespace reprise::kernels::cuda
