// What a dry device says of a training step, beside what the same step measures: every peak, to the byte.
#include "step_memory.h"

using namespace reprise;
using namespace reprise::test;

namespace {

std::vector<StepCase> all_cases() {
  std::vector<StepCase> cases;
  for (const std::string segments : {"none", "blocks", "every:2", "sqrt", "nested", "cheap"}) {
    for (const std::int64_t batch : {1, 2, 3}) {
      cases.push_back({.segments = segments, .batch = batch});
      cases.push_back({.segments = segments, .batch = batch, .dropout = 0.1});
      cases.push_back({.model = "resnet", .segments = segments, .batch = batch + 1});
    }
    cases.push_back({.segments = segments, .dropout = 0.1, .dtype = DType::bfloat16, .loss_chunk = 10});
    cases.push_back({.model = "resnet", .segments = segments, .dtype = DType::float16});
  }
  return cases;
}

}  // namespace

TEST_CASE("a dry step takes what a real one takes, to the byte", "[simt][cuda][predict]") {
  for (const Device device : {Device::cpu(), Device::cuda()}) {
    for (const StepCase& c : all_cases()) {
      if (device == Device::cpu() && c.dtype == DType::float16) continue;
      DYNAMIC_SECTION(to_string(device) << ": " << c.name()) {
        check_prediction(device, [&] { return step_of(c); });
      }
    }
  }
}
