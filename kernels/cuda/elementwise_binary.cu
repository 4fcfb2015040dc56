// y = f(a, b): see elementwise.cuh for how memory is accessed.
#include "cuda/elementwise.cuh"
#include "cuda/math.cuh"

namespace reprise::kernels::cuda {

namespace {

/// out = f(a, b).
template <class Function, class C>
struct BinaryForward : Operation<2, 1, kRows, C> {
  __device__ __forceinline__ void operator()(const C (&in)[2], C (&out)[1]) const {
    out[0] = Function::value(in[0], in[1]);
  }
};

}  // namespace

void binary_forward(const Queue& queue, Binary function, const ConstView& a, const ConstView& b,
                    const View& y) {
  constexpr const char* kOperation = "binary_forward";
  if (y.numel() == 0) return;
  const auto number = [&]<class C>() {
    functors::dispatch<Math, C>(function, [&]<class Function>() {
      if constexpr (std::is_integral_v<C> && !Function::integers) {
        refuse(kOperation, y.dtype);
      } else {
        using Op = BinaryForward<Function, C>;
        launch_uniform(kOperation, queue, y.dtype, Op(), Problem<Op>({Target{y}}, {&a, &b}));
      }
    });
  };
  if (y.dtype == DType::int32) return number.template operator()<std::int32_t>();
  if (y.dtype == DType::int64) return number.template operator()<std::int64_t>();
  dispatch_computed(kOperation, y.dtype, number);
}

}  // namespace reprise::kernels::cuda
