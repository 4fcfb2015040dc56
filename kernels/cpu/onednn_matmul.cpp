// Matrix products through oneDNN.
#if defined(REPRISE_ONEDNN)

#include <algorithm>
#include <bit>
#include <limits>

#include "onednn_plan.h"
#include "product.h"

namespace reprise::kernels::cpu::onednn {

namespace {

using Desc = dnnl::memory::desc;
using Dims = dnnl::memory::dims;

struct Key {
  Product product;
  int threads = 1;
  bool operator==(const Key&) const = default;

  std::size_t hash() const {
    const Product& p = product;
    Hash hash;
    hash << p.m << p.n << p.k << std::bit_cast<std::int64_t>(p.alpha);
    hash << (static_cast<int>(p.dtype) | p.bias << 4 | p.accumulate << 5 | p.batch_rank << 6 | threads << 10);
    hash << static_cast<int>(p.result_dtype);
    for (const MatrixStrides* strides : {&p.a, &p.b, &p.c}) {
      hash << strides->row << strides->column;
      for (int axis = 0; axis < p.batch_rank; ++axis) hash << strides->batch[axis];
    }
    for (int axis = 0; axis < p.batch_rank; ++axis) hash << p.batch[axis];
    return hash.value();
  }
};

Desc describe(const Product& p, DType dtype, const MatrixStrides& strides, std::int64_t rows,
              std::int64_t columns) {
  Dims sizes, steps;
  for (int axis = 0; axis < p.batch_rank; ++axis) {
    const bool broadcast = strides.batch[axis] == 0;
    sizes.push_back(broadcast ? 1 : p.batch[axis]);
    steps.push_back(broadcast ? rows * columns : strides.batch[axis]);
  }
  sizes.insert(sizes.end(), {rows, columns});
  steps.insert(steps.end(), {strides.row, strides.column});
  return Desc(sizes, data_type_of(dtype), steps);
}

Desc describe_bias(const Product& p) {
  if (!p.bias) return {};
  Dims sizes(static_cast<std::size_t>(p.batch_rank) + 2, 1), steps(sizes.size(), p.n);
  sizes.back() = p.n;
  steps.back() = 1;
  return Desc(sizes, data_type_of(p.dtype), steps);
}

class Plan {
 public:
  explicit Plan(const Key& key) : threads_(key.threads) {
    const Product& p = key.product;
    dnnl::primitive_attr attributes = user_scratch();
    if (p.alpha != 1) attributes.set_output_scales(0, {static_cast<float>(p.alpha)});
    if (p.accumulate) {
      dnnl::post_ops sum;
      sum.append_sum(1);
      attributes.set_post_ops(sum);
    }
    const ThreadScope scope(threads_);
    try {
      const Desc a = describe(p, p.dtype, p.a, p.m, p.k), b = describe(p, p.dtype, p.b, p.k, p.n),
                 c = describe(p, p.result_dtype, p.c, p.m, p.n);
      const dnnl::matmul::desc desc =
          p.bias ? dnnl::matmul::desc(a, b, describe_bias(p), c) : dnnl::matmul::desc(a, b, c);
      descriptor_ = dnnl::matmul::primitive_desc(desc, attributes, cpu_engine());
      if (is_fast(descriptor_)) scratch_bytes_ = descriptor_.scratchpad_desc().get_size();
    } catch (const dnnl::error& error) {
      rethrow_out_of_memory(error);
      scratch_bytes_.reset();
    }
  }

  std::optional<std::size_t> scratch_bytes() const { return scratch_bytes_; }

  void run(const ProductData& data, void* scratch) {
    const ThreadScope scope(threads_);
    if (!call_) {
      const dnnl::matmul::primitive_desc& d = descriptor_;
      call_ = Call(make_primitive<dnnl::matmul>(d), {{DNNL_ARG_SRC, d.src_desc()},
                                                     {DNNL_ARG_WEIGHTS, d.weights_desc()},
                                                     {DNNL_ARG_BIAS, d.bias_desc()},
                                                     {DNNL_ARG_DST, d.dst_desc()},
                                                     {DNNL_ARG_SCRATCHPAD, d.scratchpad_desc()}});
    }
    call_({{DNNL_ARG_SRC, data.a},
           {DNNL_ARG_WEIGHTS, data.b},
           {DNNL_ARG_BIAS, data.bias},
           {DNNL_ARG_DST, data.c},
           {DNNL_ARG_SCRATCHPAD, scratch}});
  }

 private:
  int threads_;
  dnnl::matmul::primitive_desc descriptor_;
  std::optional<std::size_t> scratch_bytes_;
  Call call_;
};

Plan& plan_of(const Product& product) {
  return ThreadLasting<PlanCache<Key, Plan>>::get()[Key{product, threads_for(product.multiplications())}];
}

}  // namespace

std::optional<std::size_t> scratch_bytes(const Product& product) {
  // oneDNN 2 divides by zero where a size does not fit 32 bits, be it only asked for its scratch.
  constexpr std::int64_t kLargest = std::numeric_limits<std::int32_t>::max();
  if (std::max({product.m, product.n, product.k}) > kLargest) return std::nullopt;
  return plan_of(product).scratch_bytes();
}

void multiply(const Product& product, const ProductData& data, void* scratch) {
  plan_of(product).run(data, scratch);
}

}  // namespace reprise::kernels::cpu::onednn

#endif
