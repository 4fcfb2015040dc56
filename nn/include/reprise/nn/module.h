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

#include <functional>
#include <string>
#include <string_view>
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

/// All parameters under their names, in the order of the members.
template <class Module>
std::vector<NamedTensor> named_parameters(Module& module) {
  std::vector<NamedTensor> found;
  Visitor visitor({.parameter =
                       [&](const std::string& name, Tensor& tensor) {
                         found.push_back({name, tensor});
                       },
                   .buffer = {},
                   .mode = {}});
  module.visit(visitor);
  return found;
}

/// A leaf of the parameter's values, rounded to `dtype`, under its name.
Tensor converted(const Tensor& parameter, DType dtype);

/// Converts every parameter to `dtype`; one that is shared stays shared. Buffers (running statistics) stay as
/// they are. Before an optimiser is made: it holds on to the parameters.
template <class Module>
void convert(Module& module, DType dtype) {
  std::vector<std::pair<Tensor, Tensor>> done;
  Visitor visitor({.parameter =
                       [&](const std::string&, Tensor& tensor) {
                         for (const auto& [before, after] : done) {
                           if (before.value() == tensor.value()) {
                             tensor = after;
                             return;
                           }
                         }
                         done.emplace_back(tensor, converted(tensor, dtype));
                         tensor = done.back().second;
                       },
                   .buffer = {},
                   .mode = {}});
  module.visit(visitor);
}

/// All buffers under their names.
template <class Module>
std::vector<NamedTensor> named_buffers(Module& module) {
  std::vector<NamedTensor> found;
  Visitor visitor({.parameter = {},
                   .buffer =
                       [&](const std::string& name, Tensor& tensor) {
                         found.push_back({name, tensor});
                       },
                   .mode = {}});
  module.visit(visitor);
  return found;
}

/// The tensors alone.
std::vector<Tensor> tensors_of(const std::vector<NamedTensor>& named);

/// All parameters.
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

/// Gives every parameter and buffer its full name, for error messages and reports.
template <class Module>
void name_tensors(Module& module) {
  const auto set = [](const std::string& name, Tensor& tensor) { tensor.set_name(name); };
  Visitor visitor({.parameter = set, .buffer = set, .mode = {}});
  module.visit(visitor);
}

/// Number of elements of all parameters.
std::int64_t count_elements(const std::vector<Tensor>& tensors);

/// Copies `state` into the members of the same names. Throws Error naming what is missing, unknown, given
/// twice, or of another shape, before anything is changed.
template <class Module>
void load_state(Module& module, const std::vector<NamedTensor>& state);

/// The part of load_state that does not depend on the module.
void copy_state(const std::vector<NamedTensor>& members, const std::vector<NamedTensor>& state);

template <class Module>
void load_state(Module& module, const std::vector<NamedTensor>& state) {
  std::vector<NamedTensor> members = named_parameters(module);
  for (NamedTensor& buffer : named_buffers(module)) members.push_back(std::move(buffer));
  copy_state(members, state);
}

}  // namespace reprise::nn
