// Optimiser steps over all parameters in a few launches.
//
// A launch takes a table of up to 128 tensors of one type as its parameter; a block updates a chunk of one of
// them, reading and writing packs of 16 bytes. Numbers that change from step to step are read from device
// memory where the caller keeps them there.
#include "reprise/kernels/optimiser.h"

#include "cuda/element.cuh"
#include "cuda/launch.h"
#include "cuda/math.cuh"

namespace reprise::kernels::cuda {

namespace {

constexpr int kBlock = 256, kTableSize = 128;
constexpr std::int64_t kChunk = 8192;  // elements of a block; a multiple of every pack

/// A tensor's memory; `state` is what the optimiser keeps of it, null where it keeps nothing; the last one is
/// the master copy that is updated in the parameter's place.
template <class T, int states>
struct Entry {
  T* parameter;
  const T* gradient;
  ComputeOf<T>* state[states];
  std::int64_t numel;
  double weight_decay;
  std::uint32_t first_block;
  bool packed;
};

template <class T, int states>
struct Table {
  Entry<T, states> entries[kTableSize];
  int count = 0;
  std::uint32_t blocks = 0;

  void add(Entry<T, states> entry) {
    entry.packed = aligned16(entry.parameter) && aligned16(entry.gradient);
    for (const ComputeOf<T>* state : entry.state) entry.packed = entry.packed && aligned16(state);
    entry.first_block = blocks;
    blocks += static_cast<std::uint32_t>(ceil_div(entry.numel, kChunk));
    entries[count++] = entry;
  }
  __device__ __forceinline__ int tensor_of(std::uint32_t block) const {
    int low = 0, high = count;
    while (high - low > 1) {
      const int middle = (low + high) / 2;
      (entries[middle].first_block <= block ? low : high) = middle;
    }
    return low;
  }
};

/// Updates the V elements from `at` on.
template <int V, class T, int states, class Rule>
__device__ __forceinline__ void update(const Rule& rule, T* parameter, const T* gradient,
                                       ComputeOf<T>* const (&state)[states], std::int64_t at) {
  using C = ComputeOf<T>;
  const Pack<T, V> p = read_pack<V>(parameter + at);
  const Pack<T, V> g = read_pack<V>(gradient + at);
  Pack<C, V> kept[states];
  C result[V];
#pragma unroll
  for (int k = 0; k < states; ++k) {
    if (state[k] != nullptr) kept[k] = read_pack<V>(state[k] + at);
  }
#pragma unroll
  for (int i = 0; i < V; ++i) {
    C values[states];
#pragma unroll
    for (int k = 0; k < states; ++k) values[k] = state[k] != nullptr ? kept[k].element[i] : C(0);
    const C before = state[states - 1] != nullptr ? values[states - 1] : to_compute(element_of(p, i));
    values[states - 1] = rule(before, to_compute(element_of(g, i)), values);
    result[i] = values[states - 1];
#pragma unroll
    for (int k = 0; k < states; ++k) kept[k].element[i] = values[k];
  }
  write_pack(parameter + at, round_pack<T>(result));
#pragma unroll
  for (int k = 0; k < states; ++k) {
    if (state[k] != nullptr) write_pack(state[k] + at, kept[k]);
  }
}

/// `Step` makes the rule of a tensor from its weight decay.
template <class T, int states, class Step>
__global__ void __launch_bounds__(kBlock)
    step_kernel(const __grid_constant__ Table<T, states> table, const __grid_constant__ Step step) {
  // 16 bytes of the state, which is most of the traffic: neighbours in a warp then read neighbours in memory.
  constexpr int V = kPack<ComputeOf<T>>;
  const Entry<T, states>& entry = table.entries[table.tensor_of(blockIdx.x)];
  T* const parameter = entry.parameter;
  const T* const gradient = entry.gradient;
  ComputeOf<T>* state[states];
#pragma unroll
  for (int k = 0; k < states; ++k) state[k] = entry.state[k];
  const auto rule = step.template rule<ComputeOf<T>>(entry.weight_decay, state[0] != nullptr);
  const std::int64_t begin = std::int64_t{blockIdx.x - entry.first_block} * kChunk;
  const std::int64_t end = min(begin + kChunk, entry.numel);
  if (!entry.packed) {
    for (std::int64_t i = begin + threadIdx.x; i < end; i += kBlock)
      update<1>(rule, parameter, gradient, state, i);
    return;
  }
  const std::int64_t whole = end - end % V;
#pragma unroll 2
  for (std::int64_t i = begin + threadIdx.x * V; i < whole; i += kBlock * V)
    update<V>(rule, parameter, gradient, state, i);
  if (whole + threadIdx.x < end) update<1>(rule, parameter, gradient, state, whole + threadIdx.x);
}

/// What is in device memory where the caller keeps it there.
__device__ __forceinline__ double value_or(const double* memory, double otherwise) {
  return memory != nullptr ? *memory : otherwise;
}

/// p -= lr wd p; m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; p -= lr / c1 * m / (sqrt(v / c2) + eps), c =
/// 1 - b^step.
template <class C>
struct AdamWRule {
  C gradient_scale, beta1, one_minus_beta1, beta2, one_minus_beta2, eps, step_size, root_correction, decay;

  __device__ __forceinline__ C operator()(C p, C g, C (&state)[3]) const {
    const C gradient = g * gradient_scale;
    const C m = beta1 * state[0] + one_minus_beta1 * gradient;
    const C v = beta2 * state[1] + one_minus_beta2 * (gradient * gradient);
    state[0] = m;
    state[1] = v;
    return p * decay - step_size * m / (Math::sqrt(v) * root_correction + eps);
  }
};

struct AdamWStep {
  double beta1, beta2, eps;
  AdamWRates rates;
  const double *rates_memory, *gradient_scale;

  template <class C>
  __device__ __forceinline__ AdamWRule<C> rule(double weight_decay, bool) const {
    const bool given = rates_memory != nullptr;
    const double lr = given ? rates_memory[0] : rates.lr,
                 step_size = given ? rates_memory[1] : rates.step_size;
    const double root_correction = given ? rates_memory[2] : rates.root_correction;
    return {static_cast<C>(value_or(gradient_scale, 1.0)),
            static_cast<C>(beta1),
            static_cast<C>(1.0 - beta1),
            static_cast<C>(beta2),
            static_cast<C>(1.0 - beta2),
            static_cast<C>(eps),
            static_cast<C>(step_size),
            static_cast<C>(root_correction),
            static_cast<C>(1.0 - lr * weight_decay)};
  }
};

/// g += wd p; buffer = g or momentum buffer + g; p -= lr (buffer, or g + momentum buffer for Nesterov).
template <class C>
struct SgdRule {
  C gradient_scale, lr, decay, momentum, weight_of_gradient, weight_of_buffer;
  bool first_step, buffered;

  __device__ __forceinline__ C operator()(C p, C g, C (&state)[2]) const {
    const C gradient = g * gradient_scale + decay * p;
    if (!buffered) return p - lr * gradient;
    // On the first step nothing that the buffer holds may enter, not even a NaN.
    const C updated = momentum * (first_step ? C(0) : state[0]) + gradient;
    state[0] = updated;
    return p - lr * (weight_of_gradient * gradient + weight_of_buffer * updated);
  }
};

struct SgdStep {
  double lr, momentum;
  const double *lr_memory, *gradient_scale;
  bool nesterov, first_step;

  template <class C>
  __device__ __forceinline__ SgdRule<C> rule(double weight_decay, bool buffered) const {
    const C factor = static_cast<C>(momentum);
    return {static_cast<C>(value_or(gradient_scale, 1.0)),
            static_cast<C>(value_or(lr_memory, lr)),
            static_cast<C>(weight_decay),
            factor,
            nesterov ? C(1) : C(0),
            nesterov ? factor : C(1),
            first_step,
            buffered};
  }
};

template <class T>
Entry<T, 3> entry_of(const AdamWTensor& tensor) {
  using C = ComputeOf<T>;
  return {tensor.parameter.as<T>(),
          tensor.gradient.as<T>(),
          {tensor.mean.as<C>(), tensor.variance.as<C>(), tensor.master.as<C>()},
          tensor.parameter.numel(),
          tensor.weight_decay,
          0,
          false};
}

template <class T>
Entry<T, 2> entry_of(const SgdTensor& tensor) {
  return {tensor.parameter.as<T>(),
          tensor.gradient.as<T>(),
          {tensor.momentum.as<ComputeOf<T>>(), tensor.master.as<ComputeOf<T>>()},
          tensor.parameter.numel(),
          tensor.weight_decay,
          0,
          false};
}

/// Launches `step` for the tensors of every floating type, a table at a time.
template <int states, class Tensor, class Step>
void launch_step(const char* operation, const Queue& queue, std::span<const Tensor> tensors,
                 const Step& step) {
  for (const Tensor& tensor : tensors) {
    if (!is_floating(tensor.parameter.dtype)) refuse(operation, tensor.parameter.dtype);
  }
  const auto of_type = [&]<class T>(DType dtype) {
    Table<T, states> table;
    const auto launch_table = [&] {
      launch(operation, queue, step_kernel<T, states, Step>, dim3(table.blocks), dim3(kBlock), 0, table,
             step);
      table.count = 0;
      table.blocks = 0;
    };
    for (const Tensor& tensor : tensors) {
      if (tensor.parameter.dtype != dtype || tensor.parameter.numel() == 0) continue;
      table.add(entry_of<T>(tensor));
      if (table.count == kTableSize) launch_table();
    }
    launch_table();
  };
  of_type.template operator()<float>(DType::float32);
  of_type.template operator()<__nv_bfloat16>(DType::bfloat16);
  of_type.template operator()<__half>(DType::float16);
  of_type.template operator()<double>(DType::float64);
}

}  // namespace

void adamw_step(const Queue& queue, const AdamWParams& params, std::span<const AdamWTensor> tensors) {
  const AdamWStep step{params.beta1,
                       params.beta2,
                       params.eps,
                       AdamWRates::of(params),
                       params.rates.as<double>(),
                       params.gradient_scale.as<double>()};
  launch_step<3>("adamw_step", queue, tensors, step);
}

void sgd_step(const Queue& queue, const SgdParams& params, std::span<const SgdTensor> tensors) {
  const SgdStep step{
      params.lr,       params.momentum,  params.rates.as<double>(), params.gradient_scale.as<double>(),
      params.nesterov, params.first_step};
  launch_step<2>("sgd_step", queue, tensors, step);
}

}  // namespace reprise::kernels::cuda
