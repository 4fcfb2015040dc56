#include "reprise/nn/module.h"

#include <fmt/format.h>

#include <map>

#include "reprise/error.h"
#include "reprise/tape.h"

namespace reprise::nn {

std::vector<Tensor> tensors_of(const std::vector<NamedTensor>& named) {
  std::vector<Tensor> tensors;
  tensors.reserve(named.size());
  for (const NamedTensor& entry : named) tensors.push_back(entry.tensor);
  return tensors;
}

Tensor converted(const Tensor& parameter, DType dtype) {
  if (!is_floating(dtype))
    throw TypeError(fmt::format("[convert] parameters cannot be {}; give a floating type", name_of(dtype)));
  const NoGrad no_grad;
  Tensor result = empty(parameter.shape(), {.dtype = dtype,
                                            .device = parameter.device(),
                                            .category = Category::parameters,
                                            .channels_last = parameter.spec().channels_last});
  result.copy_(parameter).set_requires_grad(parameter.requires_grad());
  return result.set_name(parameter.name());
}

std::int64_t count_elements(const std::vector<Tensor>& tensors) {
  std::int64_t total = 0;
  for (const Tensor& tensor : tensors) total += tensor.numel();
  return total;
}

void copy_state(const std::vector<NamedTensor>& members, const std::vector<NamedTensor>& state) {
  std::map<std::string, Tensor> given;
  for (const NamedTensor& entry : state) {
    if (!given.emplace(entry.name, entry.tensor).second)
      throw Error(fmt::format("[load_state] '{}' is given twice", entry.name));
  }
  std::vector<std::pair<Tensor, Tensor>> copies;
  for (const NamedTensor& member : members) {
    const auto found = given.find(member.name);
    if (found == given.end()) throw Error(fmt::format("[load_state] '{}' is missing", member.name));
    if (!(found->second.shape() == member.tensor.shape())) {
      throw ShapeError(fmt::format("[load_state] '{}' is {}, the module needs {}", member.name,
                                   to_string(found->second.shape()), to_string(member.tensor.shape())));
    }
    copies.emplace_back(member.tensor, found->second);
    given.erase(found);
  }
  if (!given.empty()) throw Error(fmt::format("[load_state] the module has no '{}'", given.begin()->first));
  const NoGrad no_grad;
  for (auto& [to, from] : copies) to.copy_(from);
}

}  // namespace reprise::nn
