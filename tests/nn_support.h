// What the tests of modules share: a small GPT, and the state of a module.
#pragma once

#include "reprise/reprise.h"
#include "tape_support.h"

namespace nn_test {

using namespace tape_test;

inline nn::GptConfig small_gpt() {
  return {.vocabulary = 31, .context = 12, .layers = 2, .heads = 2, .width = 16, .dropout = 0.2};
}

inline Tensor small_ids(std::int64_t batch = 2, std::int64_t seq = 7) {
  std::vector<std::int32_t> ids(static_cast<std::size_t>(batch * seq));
  for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<std::int32_t>(i * 5 % 31);
  return tensor<std::int32_t>(ids, {batch, seq});
}

template <class Module>
std::vector<nn::NamedTensor> state_of(Module& module) {
  std::vector<nn::NamedTensor> state = nn::named_parameters(module);
  for (nn::NamedTensor& entry : nn::named_buffers(module)) state.push_back(std::move(entry));
  return state;
}

/// The same names with copies of the tensors.
inline std::vector<nn::NamedTensor> copy_of(const std::vector<nn::NamedTensor>& state) {
  const NoGrad no_grad;
  std::vector<nn::NamedTensor> copies;
  for (const nn::NamedTensor& entry : state) copies.push_back({entry.name, entry.tensor.detach().clone()});
  return copies;
}

inline std::string digest_of(const std::vector<nn::NamedTensor>& state) {
  return nn::digest(nn::tensors_of(state));
}
inline std::string digest_of(const Tensor& tensor) { return nn::digest({&tensor, 1}); }

inline const Tensor& find(const std::vector<nn::NamedTensor>& state, const std::string& name) {
  for (const nn::NamedTensor& entry : state) {
    if (entry.name == name) return entry.tensor;
  }
  FAIL("no " << name);
  throw std::logic_error(name);
}

inline void check_constant(const Tensor& tensor, double value) {
  for (const double x : tensor.to_vector<double>()) CHECK(x == value);
}

}  // namespace nn_test
