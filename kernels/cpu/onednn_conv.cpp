// Convolutions through oneDNN: plain channels-last activations, and weights in the order that the primitive
// likes best, into which they are brought at each call (they are small).
#if defined(REPRISE_ONEDNN)

#include "convolution.h"
#include "onednn_plan.h"
#include "workspace.h"

namespace reprise::kernels::cpu::onednn {

namespace {

using Desc = dnnl::memory::desc;
using Dims = dnnl::memory::dims;
using Tag = dnnl::memory::format_tag;

constexpr auto kDirect = dnnl::algorithm::convolution_direct;

struct Key {
  Convolution convolution;
  int threads = 1;
  bool operator==(const Key&) const = default;

  std::size_t hash() const {
    const Convolution& c = convolution;
    const Conv2dParams& p = c.params;
    Hash hash;
    hash << (static_cast<int>(c.pass) | static_cast<int>(c.dtype) << 2 | c.bias << 6 | threads << 7);
    for (const std::int64_t number :
         {c.n, c.ic, c.ih, c.iw, c.oc, c.oh, c.ow, c.kh, c.kw, p.groups, p.stride[0], p.stride[1],
          p.padding[0], p.padding[1], p.dilation[0], p.dilation[1]}) {
      hash << number;
    }
    return hash.value();
  }
};

/// The descriptions that all passes share.
struct Shapes {
  Desc x, w, bias, y;  // w in any order
  Desc plain_w;
  Dims stride, dilation, padding;

  explicit Shapes(const Convolution& c) {
    const auto type = data_type_of(c.dtype);
    const Conv2dParams& p = c.params;
    x = Desc({c.n, c.ic, c.ih, c.iw}, type, Tag::nhwc);
    y = Desc({c.n, c.oc, c.oh, c.ow}, type, Tag::nhwc);
    if (c.bias) bias = Desc({c.oc}, type, Tag::a);
    const bool grouped = p.groups > 1;
    const Dims sizes =
        grouped ? Dims{p.groups, c.oc / p.groups, c.ic / p.groups, c.kh, c.kw} : Dims{c.oc, c.ic, c.kh, c.kw};
    w = Desc(sizes, type, Tag::any);
    plain_w = Desc(sizes, type, grouped ? Tag::goihw : Tag::oihw);
    stride = {p.stride[0], p.stride[1]};
    dilation = {p.dilation[0] - 1, p.dilation[1] - 1};
    padding = {p.padding[0], p.padding[1]};
  }
};

class Plan {
 public:
  explicit Plan(const Key& key) : threads_(key.threads), pass_(key.convolution.pass) {
    const ThreadScope scope(threads_);
    try {
      describe(Shapes(key.convolution));
    } catch (const dnnl::error& error) {
      rethrow_out_of_memory(error);
      fast_ = false;
    }
  }

  std::optional<std::size_t> scratch_bytes() const {
    if (!fast_) return std::nullopt;
    return cut({}).bytes;
  }

  void run(const ConvolutionData& data, void* scratch) {
    const ThreadScope scope(threads_);
    make_calls();
    const Pieces pieces = cut({scratch, 0});
    const void* w = data.w;
    if (reordered_ && pass_ != ConvPass::backward_weight) {
      reorder_call_(
          {{DNNL_ARG_FROM, data.w}, {DNNL_ARG_TO, pieces.w}, {DNNL_ARG_SCRATCHPAD, pieces.reorder_scratch}});
      w = pieces.w;
    }
    switch (pass_) {
      case ConvPass::forward:
        call_({{DNNL_ARG_SRC, data.x},
               {DNNL_ARG_WEIGHTS, w},
               {DNNL_ARG_BIAS, data.bias},
               {DNNL_ARG_DST, data.out},
               {DNNL_ARG_SCRATCHPAD, pieces.scratch}});
        return;
      case ConvPass::backward_data:
        call_({{DNNL_ARG_DIFF_DST, data.y},
               {DNNL_ARG_WEIGHTS, w},
               {DNNL_ARG_DIFF_SRC, data.out},
               {DNNL_ARG_SCRATCHPAD, pieces.scratch}});
        return;
      case ConvPass::backward_weight:
        call_({{DNNL_ARG_SRC, data.x},
               {DNNL_ARG_DIFF_DST, data.y},
               {DNNL_ARG_DIFF_WEIGHTS, reordered_ ? pieces.w : data.out},
               {DNNL_ARG_SCRATCHPAD, pieces.scratch}});
        if (!reordered_) return;
        reorder_call_({{DNNL_ARG_FROM, pieces.w},
                       {DNNL_ARG_TO, data.out},
                       {DNNL_ARG_SCRATCHPAD, pieces.reorder_scratch}});
    }
  }

 private:
  struct Pieces {
    void* w = nullptr;
    void* scratch = nullptr;
    void* reorder_scratch = nullptr;
    std::size_t bytes = 0;
  };

  Pieces cut(const Workspace& workspace) const {
    Carver carver(workspace);
    Pieces pieces;
    if (reordered_) {
      pieces.w = carver.take(w_.get_size());
      pieces.reorder_scratch = carver.take(reorder_.scratchpad_desc().get_size());
    }
    pieces.scratch = carver.take(scratch_.get_size());
    pieces.bytes = carver.bytes();
    return pieces;
  }

  void describe(const Shapes& s) {
    const dnnl::engine& engine = cpu_engine();
    const dnnl::primitive_attr attributes = user_scratch();
    forward_ = {{dnnl::prop_kind::forward_training, kDirect, s.x, s.w, s.bias, s.y, s.stride, s.dilation,
                 s.padding, s.padding},
                attributes,
                engine};
    if (pass_ == ConvPass::forward) {
      accept(forward_, forward_.weights_desc());
    } else if (pass_ == ConvPass::backward_data) {
      backward_data_ = {
          {kDirect, s.x, s.w, s.y, s.stride, s.dilation, s.padding, s.padding}, attributes, engine, forward_};
      accept(backward_data_, backward_data_.weights_desc());
    } else {
      backward_weight_ = {
          {kDirect, s.x, s.w, s.y, s.stride, s.dilation, s.padding, s.padding}, attributes, engine, forward_};
      accept(backward_weight_, backward_weight_.diff_weights_desc());
    }
    if (!fast_ || w_ == s.plain_w) return;
    reordered_ = true;
    reorder_ = pass_ == ConvPass::backward_weight
                   ? dnnl::reorder::primitive_desc(engine, w_, engine, s.plain_w, attributes)
                   : dnnl::reorder::primitive_desc(engine, s.plain_w, engine, w_, attributes);
  }

  template <class PrimitiveDescriptor>
  void accept(const PrimitiveDescriptor& descriptor, const Desc& w) {
    fast_ = is_fast(descriptor);
    w_ = w;
    if (fast_) scratch_ = descriptor.scratchpad_desc();
  }

  void make_calls() {
    if (call_) return;
    if (reordered_) {
      reorder_call_ =
          Call(make_primitive<dnnl::reorder>(reorder_), {{DNNL_ARG_FROM, reorder_.src_desc()},
                                                         {DNNL_ARG_TO, reorder_.dst_desc()},
                                                         {DNNL_ARG_SCRATCHPAD, reorder_.scratchpad_desc()}});
    }
    switch (pass_) {
      case ConvPass::forward:
        call_ =
            Call(make_primitive<dnnl::convolution_forward>(forward_), {{DNNL_ARG_SRC, forward_.src_desc()},
                                                                       {DNNL_ARG_WEIGHTS, w_},
                                                                       {DNNL_ARG_BIAS, forward_.bias_desc()},
                                                                       {DNNL_ARG_DST, forward_.dst_desc()},
                                                                       {DNNL_ARG_SCRATCHPAD, scratch_}});
        return;
      case ConvPass::backward_data:
        call_ = Call(make_primitive<dnnl::convolution_backward_data>(backward_data_),
                     {{DNNL_ARG_DIFF_DST, backward_data_.diff_dst_desc()},
                      {DNNL_ARG_WEIGHTS, w_},
                      {DNNL_ARG_DIFF_SRC, backward_data_.diff_src_desc()},
                      {DNNL_ARG_SCRATCHPAD, scratch_}});
        return;
      case ConvPass::backward_weight:
        call_ = Call(make_primitive<dnnl::convolution_backward_weights>(backward_weight_),
                     {{DNNL_ARG_SRC, backward_weight_.src_desc()},
                      {DNNL_ARG_DIFF_DST, backward_weight_.diff_dst_desc()},
                      {DNNL_ARG_DIFF_WEIGHTS, w_},
                      {DNNL_ARG_SCRATCHPAD, scratch_}});
    }
  }

  int threads_;
  ConvPass pass_;
  bool fast_ = false;
  bool reordered_ = false;  // the primitive's weights do not lie as ours do
  Desc w_, scratch_;
  dnnl::convolution_forward::primitive_desc forward_;  // the other passes need it as a hint
  dnnl::convolution_backward_data::primitive_desc backward_data_;
  dnnl::convolution_backward_weights::primitive_desc backward_weight_;
  dnnl::reorder::primitive_desc reorder_;
  Call call_, reorder_call_;
};

Plan& plan_of(const Convolution& convolution) {
  return ThreadLasting<PlanCache<Key, Plan>>::get()[Key{convolution,
                                                        threads_for(convolution.multiplications())}];
}

}  // namespace

std::optional<std::size_t> scratch_bytes(const Convolution& convolution) {
  return plan_of(convolution).scratch_bytes();
}

void convolve(const Convolution& convolution, const ConvolutionData& data, void* scratch) {
  plan_of(convolution).run(data, scratch);
}

}  // namespace reprise::kernels::cpu::onednn

#endif
