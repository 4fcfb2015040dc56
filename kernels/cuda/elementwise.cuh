// Elementwise loops over tensors of any layout: y_i = f(x_i, ...) for up to 3 inputs and 2 outputs.
//
// Where the innermost axis is contiguous in every operand (or broadcast, for operations of several inputs),
// and all else is a multiple of a pack, a thread moves packs of 16 bytes, all loads before the first store;
// that serves dense tensors, rows with a bias, slices and permutations that keep the innermost axis.
// Everything else goes element by element, in the order of the output's memory. Inputs may be the outputs
// themselves, so nothing is
// `__restrict__`.
#pragma once

#include "cuda/element.cuh"
#include "cuda/strided.cuh"
#include "reprise/kernels/elementwise_functors.h"

namespace reprise::kernels::cuda {

inline constexpr int kElementwiseBlock = 256;

/// What an operation may need, as bits: adding its results to what is there, rows that some operands
/// broadcast, input 0 boolean whatever the other inputs are.
enum Needs : unsigned { kNothing = 0, kAdding = 1, kRows = 2, kCondition = 4 };

/// What an operation says of itself: it takes `Compute` and returns `Result`.
template <int inputs, int outputs, unsigned needs, class C, class R = C>
struct Operation {
  using Compute = C;
  using Result = R;
  static constexpr int kInputs = inputs, kOutputs = outputs, kOperands = inputs + outputs;
  static constexpr bool kAdds = (needs & kAdding) != 0, kHasRows = (needs & kRows) != 0,
                        kHasCondition = (needs & kCondition) != 0;
};

/// Memory of the outputs, then of the inputs.
template <class Op>
struct Operands {
  std::byte* data[Op::kOperands] = {};
  DType dtype[Op::kOperands] = {};
  bool add[Op::kOutputs] = {};
  std::uint32_t broadcast = 0;  // bit k: operand k does not change along the innermost axis

  __device__ __forceinline__ bool is_broadcast(int k) const { return (broadcast >> k & 1u) != 0; }
  __device__ __forceinline__ bool adds(int k) const { return Op::kAdds && add[k]; }
  template <class T>
  __device__ __forceinline__ T* at(int k, const Offsets<Op::kOperands>& offsets) const {
    return reinterpret_cast<T*>(data[k]) + offsets.at[k];
  }
};

/// Packs of dense operands, all of one layout.
template <std::size_t N>
struct FlatWalk {
  static constexpr bool kFlat = true;
  std::uint32_t numel = 0;
  std::int64_t width = 0;  // elements of a pack

  explicit FlatWalk(const Axes<N>& axes)
      : numel(static_cast<std::uint32_t>(axes.numel())), width(axes.strides[0][0]) {}
  __device__ __forceinline__ Offsets<N> locate(std::uint32_t index) const {
    Offsets<N> offsets;
#pragma unroll
    for (std::size_t k = 0; k < N; ++k) offsets.at[k] = index * width;
    return offsets;
  }
};

/// Packs of rows, which some operands broadcast.
template <std::size_t N>
struct RowWalk : Walk<N> {
  static constexpr bool kFlat = false;
  using Walk<N>::Walk;
};

/// The element types of an operation's operands: those of output, input 0, and the other inputs.
template <class Out_, class First_, class In_>
struct Elements {
  using Out = Out_;
  using First = First_;
  using In = In_;
  static constexpr int kWidth = 16 / static_cast<int>(std::max({sizeof(Out), sizeof(First), sizeof(In)}));
};

template <class T, int V>
__device__ __forceinline__ void read_pack(const T* from, bool broadcast, Pack<T, V>& pack) {
  if (!broadcast) {
    pack = read_pack<V>(from);
    return;
  }
  T elements[V];
  elements[0] = *from;
#pragma unroll
  for (int i = 1; i < V; ++i) elements[i] = elements[0];
  pack = join_elements(elements);
}

/// What a thread holds of V elements of every operand.
template <class Op, class E, int V, bool kFlat>
struct PackOperands {
  using Out = typename E::Out;
  using Where = Offsets<Op::kOperands>;
  static constexpr int kFirst = Op::kOutputs;
  Pack<typename E::First, V> first;
  Pack<typename E::In, V> rest[Op::kInputs > 1 ? Op::kInputs - 1 : 1];
  Pack<Out, V> old[Op::kOutputs];

  __device__ __forceinline__ void read(const Operands<Op>& operands, const Where& where) {
    read_pack(operands.template at<const typename E::First>(kFirst, where),
              !kFlat && operands.is_broadcast(kFirst), first);
#pragma unroll
    for (int i = 1; i < Op::kInputs; ++i)
      read_pack(operands.template at<const typename E::In>(kFirst + i, where),
                !kFlat && operands.is_broadcast(kFirst + i), rest[i - 1]);
#pragma unroll
    for (int k = 0; k < Op::kOutputs; ++k) {
      if (operands.adds(k)) read_pack(operands.template at<const Out>(k, where), false, old[k]);
    }
  }

  __device__ __forceinline__ void compute(const Op& op, const Operands<Op>& operands, const Where& where) {
    using C = typename Op::Compute;
    Out result[Op::kOutputs][V];
#pragma unroll
    for (int i = 0; i < V; ++i) {
      C in[Op::kInputs];
      in[0] = static_cast<C>(to_compute(element_of(first, i)));
#pragma unroll
      for (int j = 1; j < Op::kInputs; ++j) in[j] = to_compute(element_of(rest[j - 1], i));
      typename Op::Result out[Op::kOutputs];
      op(in, out);
#pragma unroll
      for (int k = 0; k < Op::kOutputs; ++k) {
        if (operands.adds(k)) out[k] = functors::wrapping_add(to_compute(element_of(old[k], i)), out[k]);
        result[k][i] = from_compute<Out>(out[k]);
      }
    }
#pragma unroll
    for (int k = 0; k < Op::kOutputs; ++k) {
      if (operands.data[k] != nullptr)
        write_pack(operands.template at<Out>(k, where), join_elements(result[k]));
    }
  }
};

inline constexpr int kPacksPerThread = 2;

/// `walk` counts packs; `tail` elements follow the last one, where everything is flat.
template <class Op, class E, class W>
__global__ void __launch_bounds__(kElementwiseBlock)
    pack_kernel(const __grid_constant__ W walk, const __grid_constant__ Operands<Op> operands, unsigned tail,
                Op op) {
  constexpr int V = E::kWidth;
  const std::uint32_t start = blockIdx.x * (kElementwiseBlock * kPacksPerThread) + threadIdx.x;
  PackOperands<Op, E, V, W::kFlat> packs[kPacksPerThread];
  Offsets<Op::kOperands> where[kPacksPerThread];
#pragma unroll
  for (int k = 0; k < kPacksPerThread; ++k) {
    const std::uint32_t index = start + static_cast<std::uint32_t>(k * kElementwiseBlock);
    if (index < walk.numel) where[k] = walk.locate(index);
    if (index < walk.numel) packs[k].read(operands, where[k]);
  }
#pragma unroll
  for (int k = 0; k < kPacksPerThread; ++k) {
    if (start + static_cast<std::uint32_t>(k * kElementwiseBlock) < walk.numel)
      packs[k].compute(op, operands, where[k]);
  }
  if (W::kFlat && blockIdx.x == 0 && threadIdx.x < tail) {
    Offsets<Op::kOperands> last;
#pragma unroll
    for (std::size_t k = 0; k < Op::kOperands; ++k) last.at[k] = std::int64_t{walk.numel} * V + threadIdx.x;
    PackOperands<Op, E, 1, true> one{};
    one.read(operands, last);
    one.compute(op, operands, last);
  }
}

/// An element in the type of computation C, whichever of the types with that one it is stored in.
template <class C>
__device__ __forceinline__ C load_as(const std::byte* data, DType dtype, std::int64_t at) {
  if constexpr (std::is_same_v<C, float>) {
    if (dtype == DType::bfloat16) return to_compute(reinterpret_cast<const __nv_bfloat16*>(data)[at]);
    if (dtype == DType::float16) return to_compute(reinterpret_cast<const __half*>(data)[at]);
  }
  return reinterpret_cast<const C*>(data)[at];
}

template <class C>
__device__ __forceinline__ void store_as(std::byte* data, DType dtype, std::int64_t at, C value) {
  if constexpr (std::is_same_v<C, float>) {
    if (dtype == DType::bfloat16) {
      reinterpret_cast<__nv_bfloat16*>(data)[at] = from_compute<__nv_bfloat16>(value);
      return;
    }
    if (dtype == DType::float16) {
      reinterpret_cast<__half*>(data)[at] = from_compute<__half>(value);
      return;
    }
  }
  reinterpret_cast<C*>(data)[at] = value;
}

template <class Op>
inline constexpr int kItemsPerThread = Op::kInputs > 1 ? 2 : 4;

template <class Op>
__global__ void __launch_bounds__(kElementwiseBlock)
    element_kernel(const __grid_constant__ Walk<Op::kOperands> walk,
                   const __grid_constant__ Operands<Op> operands, Op op) {
  using C = typename Op::Compute;
  using R = typename Op::Result;
  constexpr int kItems = kItemsPerThread<Op>;
  const std::uint32_t start = blockIdx.x * (kElementwiseBlock * kItems) + threadIdx.x;
  C in[kItems][Op::kInputs];
  Offsets<Op::kOperands> offsets[kItems];
#pragma unroll
  for (int k = 0; k < kItems; ++k) {
    const std::uint32_t index = start + static_cast<std::uint32_t>(k * kElementwiseBlock);
    if (index >= walk.numel) continue;
    offsets[k] = walk.locate(index);
#pragma unroll
    for (int j = 0; j < Op::kInputs; ++j) {
      const int operand = Op::kOutputs + j;
      const std::byte* data = operands.data[operand];
      const std::int64_t at = offsets[k].at[operand];
      if (Op::kHasCondition && j == 0)
        in[k][j] = static_cast<C>(reinterpret_cast<const bool*>(data)[at]);
      else
        in[k][j] = load_as<C>(data, operands.dtype[operand], at);
    }
  }
#pragma unroll
  for (int k = 0; k < kItems; ++k) {
    const std::uint32_t index = start + static_cast<std::uint32_t>(k * kElementwiseBlock);
    if (index >= walk.numel) continue;
    R result[Op::kOutputs];
    op(in[k], result);
#pragma unroll
    for (int j = 0; j < Op::kOutputs; ++j) {
      std::byte* data = operands.data[j];
      if (data == nullptr) continue;
      const std::int64_t at = offsets[k].at[j];
      if (operands.adds(j))
        result[j] = functors::wrapping_add(load_as<R>(data, operands.dtype[j], at), result[j]);
      store_as<R>(data, operands.dtype[j], at, result[j]);
    }
  }
}

/// Views of one elementwise call: the outputs (one is wanted at least), then the inputs.
template <class Op>
struct Problem {
  Operands<Op> operands;
  Axes<Op::kOperands> axes;

  Problem(const std::array<Target, Op::kOutputs>& out, const std::array<const ConstView*, Op::kInputs>& in) {
    std::array<const Layout*, Op::kOperands> layouts{};
    for (std::size_t k = 0; k < out.size(); ++k) {
      if (!out[k]) continue;
      set(k, static_cast<std::byte*>(out[k].view.data), out[k].view.dtype);
      operands.add[k] = out[k].write == Write::accumulate;
      layouts[k] = &out[k].view;
    }
    for (std::size_t i = 0; i < in.size(); ++i) {
      // Inputs are only read; one pointer type serves both kinds of operand.
      set(out.size() + i, static_cast<std::byte*>(const_cast<void*>(in[i]->data)), in[i]->dtype);
      layouts[out.size() + i] = in[i];
    }
    // The first layout gives the order of memory; an output that nobody wants moves with the other one.
    if (layouts[0] == nullptr) layouts[0] = layouts[1];
    axes = collapse(layouts);
  }

  void set(std::size_t k, std::byte* data, DType dtype) {
    operands.data[k] = data;
    operands.dtype[k] = dtype;
  }
  std::int64_t size_of_operand(int k) const { return static_cast<std::int64_t>(size_of(operands.dtype[k])); }
};

/// How the operands of a call can be moved in packs.
enum class Packing { none, rows, flat };

/// Which packing `width` elements allow; notes which operands are broadcast.
template <class Op>
Packing packing_of(Problem<Op>& problem, std::int64_t width) {
  const Axes<Op::kOperands>& axes = problem.axes;
  const int inner = axes.inner();
  bool flat = axes.rank == 1;
  for (int k = 0; k < Op::kOperands; ++k) {
    const std::byte* data = problem.operands.data[k];
    if (data == nullptr) continue;
    const PerAxis& strides = axes.strides[static_cast<std::size_t>(k)];
    if (strides[inner] == 0 && k >= Op::kOutputs) {
      problem.operands.broadcast |= 1u << k;
      flat = false;
      continue;
    }
    if (strides[inner] != 1) return Packing::none;
    const auto address = reinterpret_cast<std::uintptr_t>(data);
    if (address % static_cast<std::uintptr_t>(width * problem.size_of_operand(k)) != 0) return Packing::none;
    for (int axis = 0; axis < inner; ++axis) {
      if (strides[axis] % width != 0) return Packing::none;
    }
  }
  if (flat) return axes.sizes[inner] < width ? Packing::none : Packing::flat;
  return axes.sizes[inner] % width == 0 ? Packing::rows : Packing::none;
}

/// The same axes with a pack for an element; a rest that fills no pack is left out.
template <std::size_t N>
Axes<N> in_packs(Axes<N> axes, std::int64_t width) {
  const int inner = axes.inner();
  axes.sizes[inner] /= width;
  for (PerAxis& strides : axes.strides) strides[inner] *= width;
  return axes;
}

/// The operands of a piece that begins at `offsets`.
template <class Op>
Operands<Op> at_offsets(const Problem<Op>& problem, const std::array<std::int64_t, Op::kOperands>& offsets) {
  Operands<Op> operands = problem.operands;
  for (int k = 0; k < Op::kOperands; ++k) {
    if (operands.data[k] != nullptr)
      operands.data[k] += offsets[static_cast<std::size_t>(k)] * problem.size_of_operand(k);
  }
  return operands;
}

inline dim3 elementwise_grid(std::uint32_t items, int per_thread) {
  return dim3(static_cast<unsigned>(ceil_div(items, std::int64_t{kElementwiseBlock} * per_thread)));
}

template <class Op>
void launch_elements(const char* operation, const Queue& queue, const Op& op, const Problem<Op>& problem) {
  for_each_piece(problem.axes, [&](const auto& axes, const auto& offsets) {
    const Walk<Op::kOperands> walk(axes);
    launch(operation, queue, element_kernel<Op>, elementwise_grid(walk.numel, kItemsPerThread<Op>),
           dim3(kElementwiseBlock), 0, walk, at_offsets(problem, offsets), op);
  });
}

template <class E, class W, class Op>
void launch_walk(const char* operation, const Queue& queue, const Op& op, const Problem<Op>& problem) {
  constexpr std::int64_t kWidth = E::kWidth;
  const std::int64_t n = problem.axes.numel(), packs = n / kWidth;
  std::int64_t done = 0;
  for_each_piece(in_packs(problem.axes, kWidth), [&](const auto& axes, const auto& offsets) {
    const W walk(axes);
    done += axes.numel();
    const auto tail = static_cast<unsigned>(done == packs ? n - packs * kWidth : 0);
    launch(operation, queue, pack_kernel<Op, E, W>, elementwise_grid(walk.numel, kPacksPerThread),
           dim3(kElementwiseBlock), 0, walk, at_offsets(problem, offsets), tail, op);
  });
}

/// In packs of the element types E where the layout allows it.
template <class E, class Op>
void launch_packs(const char* operation, const Queue& queue, const Op& op, Problem<Op> problem) {
  const Packing packing = packing_of(problem, E::kWidth);
  if (packing == Packing::flat) return launch_walk<E, FlatWalk<Op::kOperands>>(operation, queue, op, problem);
  if constexpr (Op::kHasRows) {
    if (packing == Packing::rows)
      return launch_walk<E, RowWalk<Op::kOperands>>(operation, queue, op, problem);
  }
  launch_elements(operation, queue, op, problem);
}

/// Calls f.template operator()<C>() for the type C in which a floating `dtype` is computed.
template <class F>
void dispatch_computed(const char* operation, DType dtype, F&& f) {
  if (dtype == DType::float64) return f.template operator()<double>();
  if (!is_floating(dtype)) refuse(operation, dtype);
  f.template operator()<float>();
}

/// Calls f.template operator()<C>() for the type C in which any `dtype` is computed.
template <class F>
void dispatch_compute_type(DType dtype, F&& f) {
  dispatch_any(dtype, [&]<class T>() { f.template operator()<ComputeOf<T>>(); });
}

/// An operation whose operands all have the type `dtype`: in packs where that is one of the trained types.
template <class Op>
void launch_uniform(const char* operation, const Queue& queue, DType dtype, const Op& op,
                    const Problem<Op>& problem) {
  bool uniform = true;
  for (int k = 0; k < Op::kOperands; ++k)
    uniform = uniform && (problem.operands.data[k] == nullptr || problem.operands.dtype[k] == dtype);
  if constexpr (std::is_same_v<typename Op::Compute, float>) {
    if (uniform) {
      return dispatch_trained(operation, dtype, [&]<class T>() {
        launch_packs<Elements<T, T, T>>(operation, queue, op, problem);
      });
    }
  }
  launch_elements(operation, queue, op, problem);
}

}  // namespace reprise::kernels::cuda
