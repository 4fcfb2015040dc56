#include "reprise/nn/optim.h"

namespace reprise::nn {

std::vector<ParameterGroup> decay_matrices(const std::vector<Tensor>& parameters, double weight_decay) {
  std::vector<ParameterGroup> groups{{{}, weight_decay}, {{}, 0.0}};
  for (const Tensor& parameter : parameters)
    groups[parameter.rank() >= 2 ? 0 : 1].parameters.push_back(parameter);
  return groups;
}

}  // namespace reprise::nn
