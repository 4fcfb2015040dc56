// A model, its data and its optimiser as one thing that can be stepped: what `train` and `compare` run.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <variant>

#include "cli/options.h"
#include "reprise/reprise.h"

namespace reprise::cli {

/// The result of a training run on held-out data.
struct Evaluation {
  double loss = 0;
  std::optional<double> accuracy;  // of images
};

/// A model with its data. Steps are pure functions of the seed and the step's number.
class Task {
 public:
  virtual ~Task() = default;
  virtual std::string describe() const = 0;  // "GPT, 6 layers, ..."
  virtual std::string data_name() const = 0;
  virtual std::string_view item_name() const = 0;  // what a step counts: "tokens", "images"
  virtual std::int64_t items_per_step() const = 0;
  virtual void set_segments(const checkpoint::Setting& setting) = 0;
  virtual std::vector<Tensor> parameters() = 0;
  virtual std::vector<Tensor> buffers() = 0;
  /// Puts the batch of training step `step` where `loss` reads it.
  virtual void load(std::int64_t step) = 0;
  /// The loss of the batch that was loaded last, recorded; the same memory is read each time.
  virtual Tensor loss() = 0;
  virtual void set_training(bool training) = 0;
  /// Loss and accuracy on held-out data, in batches no larger than those of training; `thorough` uses all of
  /// it.
  virtual Evaluation evaluate(bool thorough) = 0;
  /// A piece of what the model can do, to be shown at the end; empty when there is nothing.
  virtual std::string sample(std::int64_t length) = 0;
};

/// A task in evaluation, and in training again at the end of the scope.
class InEvaluation {
 public:
  explicit InEvaluation(Task& task) : task_(task) { task_.set_training(false); }
  ~InEvaluation() { task_.set_training(true); }
  InEvaluation(const InEvaluation&) = delete;
  InEvaluation& operator=(const InEvaluation&) = delete;

 private:
  Task& task_;
};

/// The data is read once and shared by all tasks made from it.
class TaskFactory {
 public:
  virtual ~TaskFactory() = default;
  /// A fresh model, initialised from the seed.
  virtual std::unique_ptr<Task> make() const = 0;
};
std::unique_ptr<TaskFactory> gpt_factory(const RunOptions& options);
std::unique_ptr<TaskFactory> resnet_factory(const RunOptions& options);
std::unique_ptr<TaskFactory> task_factory(const RunOptions& options);

/// A batch on its way to the model; on CUDA it stays in the same memory, where a captured step reads it.
class BatchTensor {
 public:
  /// On a dry device no elements are needed.
  template <class T>
  void put(std::span<const T> elements, const Shape& shape, bool channels_last = false) {
    const TensorOptions options{.dtype = dtype_of<T>(), .channels_last = channels_last};
    const bool stays =
        tensor_.defined() && tensor_.shape() == shape && tensor_.device().kind == DeviceKind::cuda;
    if (!stays) tensor_ = Tensor();
    const Tensor fresh =
        options.device.is_dry ? empty(shape, options) : from_host<T>(elements, shape, options);
    if (stays)
      tensor_.copy_(fresh);
    else
      tensor_ = fresh;
  }
  const Tensor& tensor() const { return tensor_; }

 private:
  Tensor tensor_;
};

/// Optimiser, schedule and clipping of a run.
class Stepper {
 public:
  Stepper(Task& task, const RunOptions& options, std::int64_t steps);
  /// One whole step: gradients cleared, forward, backward, clipped, updated. After an exception nothing has
  /// changed but the gradients, which are cleared; on CUDA, where the loss is read at the end so that the
  /// device is waited for once, a loss that is not finite leaves its update behind. Returns the loss, which
  /// on a dry device is 0. `meter` learns what each phase uses, unless the step is a captured graph.
  double step(std::int64_t i, checkpoint::PhaseMeter& meter);
  double step(std::int64_t i) {
    checkpoint::PhaseMeter unread;
    return step(i, unread);
  }

 private:
  void forward_and_backward(checkpoint::PhaseMeter& meter);
  void update(checkpoint::PhaseMeter& meter, std::int64_t i);
  Tensor clip_scale() const;
  double finite_loss(std::int64_t i) const;
  double graph_step(std::int64_t i);
  void zero_grad();

  Task& task_;
  std::variant<nn::AdamW, nn::Sgd> optimiser_;
  nn::Schedule schedule_;
  double clip_;
  std::vector<Tensor> parameters_;
  Tensor loss_;
  std::unique_ptr<CapturedWork> graph_;
};

std::int64_t default_steps(const RunOptions& options);

}  // namespace reprise::cli
