// Modules are plain structs: parameters, buffers and other modules as members, a call operator, and one
// function that shows the members to a visitor under their names:
//
//   struct Linear {
//     Tensor weight, bias;
//     void visit(nn::Visitor& v) { v.parameter("weight", weight); v.parameter("bias", bias); }
//     Tensor operator()(Tensor x) const;
//   };
//
// Names follow PyTorch's GPT-2 (Hugging Face) and ResNet (torchvision), joined by dots.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "reprise/tensor.h"

namespace reprise::nn {

/// A member of a module under its full name.
struct NamedTensor {
  std::string name;
  Tensor tensor;
};

/// Walks a module's members.
class Visitor {
 public:
  struct Actions {
    std::function<void(const std::string& name, Tensor& tensor)> parameter;
    std::function<void(const std::string& name, Tensor& tensor)> buffer;
    std::function<void(bool& training)> mode;
  };
  explicit Visitor(Actions actions) : actions_(std::move(actions)) {}

  /// A tensor that is trained; an undefined one (a bias that is not there) is passed over.
  void parameter(std::string_view name, Tensor& tensor) { show(actions_.parameter, name, tensor); }
  /// A tensor that is part of the state but not trained.
  void buffer(std::string_view name, Tensor& tensor) { show(actions_.buffer, name, tensor); }
  /// The flag of a module that behaves differently in training and evaluation.
  void mode(bool& training) {
    if (actions_.mode) actions_.mode(training);
  }
  template <class Module>
  void child(std::string_view name, Module& module) {
    const std::size_t before = prefix_.size();
    prefix_.append(name).push_back('.');
    module.visit(*this);
    prefix_.resize(before);
  }

 private:
  void show(const std::function<void(const std::string&, Tensor&)>& action, std::string_view name,
            Tensor& tensor) {
    if (action && tensor.defined()) action(prefix_ + std::string(name), tensor);
  }
  Actions actions_;
  std::string prefix_;
};

/// Under which names a tensor is listed that is a member in several places (tied weights).
enum class Names : std::uint8_t { first, every };

/// The entries, each tensor under its first name alone.
std::vector<NamedTensor> with_first_names(std::vector<NamedTensor> entries);

/// The tensors, each once, in the order of their first mention.
std::vector<Tensor> distinct(std::span<const Tensor> tensors);

/// All parameters under their names, in the order of the members.
template <class Module>
std::vector<NamedTensor> named_parameters(Module& module, Names names = Names::first) {
  std::vector<NamedTensor> found;
  Visitor visitor({.parameter =
                       [&](const std::string& name, Tensor& tensor) {
                         found.push_back({name, tensor});
                       },
                   .buffer = {},
                   .mode = {}});
  module.visit(visitor);
  return names == Names::every ? found : with_first_names(std::move(found));
}

/// All buffers under their names.
template <class Module>
std::vector<NamedTensor> named_buffers(Module& module, Names names = Names::first) {
  std::vector<NamedTensor> found;
  Visitor visitor({.parameter = {},
                   .buffer =
                       [&](const std::string& name, Tensor& tensor) {
                         found.push_back({name, tensor});
                       },
                   .mode = {}});
  module.visit(visitor);
  return names == Names::every ? found : with_first_names(std::move(found));
}

/// What `convert` does, apart from the module: remembers what it made of each tensor.
class Conversion {
 public:
  /// Throws TypeError for a type that is not floating.
  explicit Conversion(DType dtype);
  /// Makes the tensor's counterpart, with its hooks, which for a floating parameter has the type asked for,
  /// and for a floating buffer that in which statistics are computed: float64 for float64, else float32.
  void prepare(const Tensor& tensor, bool is_parameter);
  /// The counterpart of a tensor that was prepared; itself where nothing changes.
  Tensor operator()(const Tensor& tensor) const;

 private:
  DType dtype_;
  std::vector<std::pair<Tensor, Tensor>> made_;
};

/// Converts every parameter to `dtype`, with its gradient and its gradient hooks, and every floating buffer
/// (running statistics) to float64 for float64, else to float32; integers stay, and what is shared stays
/// shared. Throws before anything is changed: TypeError for a type that is not floating, TapeError for a
/// member that was recorded for backward, and ValueError for members that share elements without being one
/// tensor. Before an optimiser is made: it holds on to the parameters.
template <class Module>
void convert(Module& module, DType dtype) {
  Conversion conversion(dtype);
  Visitor prepare({.parameter = [&](const std::string&, Tensor& tensor) { conversion.prepare(tensor, true); },
                   .buffer = [&](const std::string&, Tensor& tensor) { conversion.prepare(tensor, false); },
                   .mode = {}});
  module.visit(prepare);
  const auto replace = [&](const std::string&, Tensor& tensor) { tensor = conversion(tensor); };
  Visitor visitor({.parameter = replace, .buffer = replace, .mode = {}});
  module.visit(visitor);
}

/// The tensors alone.
std::vector<Tensor> tensors_of(const std::vector<NamedTensor>& named);

/// All parameters, each once.
template <class Module>
std::vector<Tensor> parameters(Module& module) {
  return tensors_of(named_parameters(module));
}

/// Training mode: dropout drops, batch norm uses the batch.
template <class Module>
void train(Module& module, bool training = true) {
  Visitor visitor({.parameter = {}, .buffer = {}, .mode = [training](bool& flag) { flag = training; }});
  module.visit(visitor);
}

/// Evaluation mode.
template <class Module>
void evaluate(Module& module) {
  train(module, false);
}

/// Gives every parameter and buffer its full name, the first of several, for error messages and reports.
template <class Module>
void name_tensors(Module& module) {
  for (NamedTensor& entry : named_parameters(module)) entry.tensor.set_name(entry.name);
  for (NamedTensor& entry : named_buffers(module)) entry.tensor.set_name(entry.name);
}

/// Number of elements of all tensors; one that is listed twice counts once.
std::int64_t count_elements(const std::vector<Tensor>& tensors);

/// Copies `state` into the members of the same names, from any device and type. A tensor that has several
/// names (tied weights) needs one of them. Throws Error naming what is missing, unknown, given twice, of
/// another shape, without values (of a dry device), or given with different values for two names of one
/// tensor or where two members share memory; nothing is changed then.
template <class Module>
void load_state(Module& module, const std::vector<NamedTensor>& state);

/// The part of load_state that does not depend on the module; `members` has every name.
void copy_state(const std::vector<NamedTensor>& members, const std::vector<NamedTensor>& state);

template <class Module>
void load_state(Module& module, const std::vector<NamedTensor>& state) {
  std::vector<NamedTensor> members = named_parameters(module, Names::every);
  for (NamedTensor& buffer : named_buffers(module, Names::every)) members.push_back(std::move(buffer));
  copy_state(members, state);
}

}  // namespace reprise::nn
