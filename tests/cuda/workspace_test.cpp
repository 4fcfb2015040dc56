// Scratch on CUDA: every operation asks for all that it takes, refuses less, and asks without a word to the
// device or its libraries.
#include <algorithm>
#include <functional>

#include "harness.h"
#include "reprise/kernels/attention.h"
#include "reprise/kernels/conv.h"
#include "reprise/kernels/embedding.h"
#include "reprise/kernels/matmul.h"
#include "reprise/kernels/norm.h"
#include "reprise/kernels/reduce.h"
#if defined(REPRISE_SIMT)
#include "simt/runtime/control.h"
#endif

namespace reprise::test {
namespace {

using kernels::ConvPass;
using kernels::Workspace;
using kernels::Write;

constexpr DeviceKind kCuda = DeviceKind::cuda;

/// An operation that takes scratch: how much it asks for, and how it is run.
struct Case {
  const char* what;
  std::function<std::size_t()> bytes;
  std::function<void(const kernels::Queue&, const Workspace&)> run;
};

/// Tensors of all cases, and what the cases do with them.
class Operations {
 public:
  Operations() {
    for (Twin* twin : {&x_, &y_, &square_, &image_, &out_image_, &filter_, &heads_}) twin->randomise(1);
    ids_.randomise(2);
    add_products();
    add_convolutions();
    add_sums();
    add_norms();
    add_attention();
  }
  const std::vector<Case>& all() const { return cases_; }

 private:
  void add_products() {
    cases_.push_back(
        {"matmul",
         [this] { return kernels::matmul_workspace_bytes(kCuda, x_.cuda(), square_.cuda(), y_.cuda()); },
         [this](const auto& queue, const Workspace& w) {
           kernels::matmul(queue, 1, x_.cuda(), square_.cuda(), y_.cuda(Write::overwrite), w);
         }});
    cases_.push_back(
        {"linear",
         [this] { return kernels::linear_workspace_bytes(kCuda, x_.cuda(), square_.cuda(), y_.cuda()); },
         [this](const auto& queue, const Workspace& w) {
           kernels::linear_forward(queue, kernels::Activation::none, x_.cuda(), square_.cuda(), row_.cuda(),
                                   {}, y_.cuda(), w);
         }});
    cases_.push_back({"bias_backward",
                      [this] { return kernels::bias_backward_workspace_bytes(kCuda, x_.cuda()); },
                      [this](const auto& queue, const Workspace& w) {
                        kernels::bias_backward(queue, x_.cuda(), row_.cuda(Write::overwrite), w);
                      }});
  }
  void add_convolutions() {
    const auto bytes = [this](ConvPass pass) {
      return [this, pass] {
        return kernels::conv2d_workspace_bytes(kCuda, pass, {}, image_.cuda(), filter_.cuda(),
                                               out_image_.cuda(), Write::overwrite);
      };
    };
    cases_.push_back({"conv2d", bytes(ConvPass::forward), [this](const auto& queue, const Workspace& w) {
                        kernels::conv2d_forward(queue, {}, image_.cuda(), filter_.cuda(), {},
                                                out_image_.cuda(), w);
                      }});
    cases_.push_back(
        {"conv2d, data", bytes(ConvPass::backward_data), [this](const auto& queue, const Workspace& w) {
           kernels::conv2d_backward_data(queue, {}, out_image_.cuda(), filter_.cuda(),
                                         image_.cuda(Write::overwrite), w);
         }});
    cases_.push_back(
        {"conv2d, weight", bytes(ConvPass::backward_weight), [this](const auto& queue, const Workspace& w) {
           kernels::conv2d_backward_weight(queue, {}, image_.cuda(), out_image_.cuda(),
                                           filter_.cuda(Write::overwrite), w);
         }});
  }
  void add_sums() {
    using kernels::Reduce;
    cases_.push_back(
        {"reduce",
         [this] { return kernels::reduce_workspace_bytes(kCuda, Reduce::sum, long_.cuda(), one_.cuda()); },
         [this](const auto& queue, const Workspace& w) {
           kernels::reduce(queue, Reduce::sum, long_.cuda(), one_.cuda(Write::overwrite), w);
         }});
    cases_.push_back({"global_norm",
                      [this] {
                        const std::vector<kernels::ConstView> views{long_.cuda(), x_.cuda()};
                        return kernels::global_norm_workspace_bytes(kCuda, views);
                      },
                      [this](const auto& queue, const Workspace& w) {
                        const std::vector<kernels::ConstView> views{long_.cuda(), x_.cuda()};
                        kernels::global_norm(queue, views, 1, wide_one_.cuda(), {}, w);
                      }});
    cases_.push_back(
        {"embedding_backward",
         [this] { return kernels::embedding_backward_workspace_bytes(kCuda, ids_.cuda(), square_.cuda()); },
         [this](const auto& queue, const Workspace& w) {
           kernels::embedding_backward(queue, ids_.cuda(), x_.cuda(), square_.cuda(Write::overwrite), w);
         }});
  }
  void add_norms() {
    cases_.push_back(
        {"layer_norm", [this] { return kernels::norm_backward_workspace_bytes(kCuda, x_.cuda()); },
         [this](const auto& queue, const Workspace& w) {
           kernels::layer_norm_backward(queue, x_.cuda(), row_.cuda(), column_.cuda(), column_.cuda(),
                                        y_.cuda(), {}, other_row_.cuda(Write::overwrite), {}, w);
         }});
    cases_.push_back({"batch_norm_statistics",
                      [this] { return kernels::batch_norm_workspace_bytes(kCuda, x_.cuda()); },
                      [this](const auto& queue, const Workspace& w) {
                        kernels::batch_norm_statistics(queue, x_.cuda(), row_.cuda(), other_row_.cuda(), w);
                      }});
    cases_.push_back(
        {"batch_norm_backward", [this] { return kernels::batch_norm_workspace_bytes(kCuda, x_.cuda()); },
         [this](const auto& queue, const Workspace& w) {
           kernels::batch_norm_backward(queue, 1e-5, false, true, x_.cuda(), row_.cuda(), row_.cuda(), {}, {},
                                        y_.cuda(), {}, other_row_.cuda(Write::overwrite), {}, w);
         }});
  }
  void add_attention() {
    cases_.push_back(
        {"attention", [this] { return kernels::attention_workspace_bytes(kCuda, {}, heads_.cuda(), true); },
         [this](const auto& queue, const Workspace& w) {
           kernels::attention_backward(queue, {}, {}, heads_.cuda(), heads_.cuda(), heads_.cuda(),
                                       heads_.cuda(), statistics_.cuda(), heads_.cuda(),
                                       out_heads_.cuda(Write::overwrite), {}, {}, w);
         }});
  }

  static constexpr DType kType = DType::float32;
  Twin x_{kType, {40, 24}}, y_{kType, {40, 24}}, square_{kType, {24, 24}};
  Twin row_{kType, {24}}, other_row_{kType, {24}}, column_{kType, {40}};
  Twin long_{kType, {70000}}, one_{kType, {1}}, wide_one_{DType::float64, {}}, ids_{DType::int32, {40}};
  Twin image_{kType, {2, 3, 6, 6}, {108, 1, 18, 3}}, out_image_{kType, {2, 4, 4, 4}, {64, 1, 16, 4}};
  Twin filter_{kType, {4, 3, 3, 3}};
  Twin heads_{kType, {2, 2, 5, 8}}, out_heads_{kType, {2, 2, 5, 8}}, statistics_{kType, {2, 2, 5, 2}};
  std::vector<Case> cases_;
};

TEST_CASE("operations take the scratch that they ask for, and no less", "[simt][cuda]") {
  const Queues queues;
  const Operations operations;
  for (const Case& operation : operations.all()) {
    INFO(operation.what);
    const std::size_t bytes = operation.bytes();
    REQUIRE(bytes > 0);
    TwinWorkspace workspace(0, bytes);
    CHECK_NOTHROW(operation.run(queues.cuda(), workspace.cuda()));
    queues.wait();
    Workspace less = workspace.cuda();
    less.bytes -= 1;
    CHECK_THROWS_WITH(operation.run(queues.cuda(), less), Catch::Contains("workspace of"));
  }
}

#if defined(REPRISE_SIMT)
TEST_CASE("how much scratch is needed is no question to the device", "[simt][cuda]") {
  const Operations operations;
  simt::runtime::reset_calls();
  for (const Case& operation : operations.all()) operation.bytes();
  CHECK(simt::runtime::calls_total() == 0);
}
#endif

}  // namespace
}  // namespace reprise::test
