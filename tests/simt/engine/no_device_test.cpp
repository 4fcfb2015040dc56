// A machine without a GPU: said in one line, and no reason for anything else not to work.
#include "stand_in.h"

namespace reprise::test {

TEST_CASE("without a device, CUDA is refused and the CPU works", "[simt][engine]") {
  const Outcome expected = train_gpt({.steps = 1});
  const StandIn stand_in;
  stand_in->devices = 0;
  CHECK(cuda_device_count() == 0);
  const std::string refusal = "[device] no cuda:0: no NVIDIA driver on this machine (libcuda is missing)";
  CHECK_THROWS_WITH(require_device(Device::cuda()), refusal);
  CHECK_THROWS_WITH(set_default_device(Device::cuda()), refusal);
  CHECK_THROWS_WITH(OnDevice(Device::cuda()), refusal);
  CHECK_THROWS_WITH(zeros({2}, {.device = Device::cuda()}), refusal);
  CHECK_THROWS_WITH(ones({2}).to(Device::cuda()), refusal);
  CHECK_THROWS_WITH(cuda_source(0), refusal);
  CHECK_THROWS_WITH(default_pool(Device::cuda()), refusal);
  CHECK_THROWS_WITH(CapturedWork(Device::cuda()), refusal);
  CHECK_NOTHROW(synchronise(Device::cuda()));
  CHECK(default_device() == Device::cpu());
  CHECK(train_gpt({.steps = 1}) == expected);

  stand_in->devices = 1;
  CHECK(cuda_device_count() == 1);
  CHECK_THROWS_WITH(require_device(Device::cuda(3)), "[device] no cuda:3: this machine has cuda:0");
  CHECK(attempt(kModels[0], {.steps = 1}).error == "");
}

}  // namespace reprise::test
