// Predictions at the same time have nothing in common, and one of no end of memory says so.
#include <catch2/catch.hpp>
#include <mutex>
#include <thread>

#include "reprise/checkpoint.h"
#include "reprise/ops.h"
#include "reprise/predict.h"
#include "reprise/random.h"

using namespace reprise;
using Catch::Matchers::Contains;

namespace {

/// A step of its own for each size.
checkpoint::Prediction predict_size(const DeviceProfile& profile, std::int64_t size) {
  return checkpoint::predict(profile, [&] {
    if (!(default_device() == Device::dry(profile))) throw Error("another device");
    const Tensor weight = randn({size, size}).set_requires_grad(true);
    return [=](checkpoint::PhaseMeter&) {
      for (int i = 0; i < 10; ++i) {
        const checkpoint::Segment segment("size");
        sum(sin(exp(matmul(weight, weight)))).backward();
      }
      Tensor(weight).clear_grad();
    };
  });
}

bool same(const checkpoint::Prediction& a, const checkpoint::Prediction& b) {
  return a.memory == b.memory && a.tape == b.tape && a.segments == b.segments && a.steps == b.steps &&
         a.events.size() == b.events.size();
}

}  // namespace

TEST_CASE("what another thread makes on a dry device is no part of a prediction", "[predict][threads]") {
  const DeviceProfile profile = parse_profile("rtx4090");
  const checkpoint::Prediction alone = predict_size(profile, 100);
  std::vector<Tensor> beside;
  const checkpoint::Prediction together = checkpoint::predict(profile, [&] {
    std::thread([&] { beside.push_back(empty({1 << 20}, {.device = Device::dry(profile)})); }).join();
    const Tensor weight = randn({100, 100}).set_requires_grad(true);
    return [=](checkpoint::PhaseMeter&) {
      for (int i = 0; i < 10; ++i) {
        const checkpoint::Segment segment("size");
        sum(sin(exp(matmul(weight, weight)))).backward();
      }
      Tensor(weight).clear_grad();
    };
  });
  CHECK(together.memory == alone.memory);
  CHECK(beside[0].device() == Device::dry(profile));
}

TEST_CASE("threads predict at the same time, each for itself", "[predict][threads]") {
  for (const char* const name : {"cpu", "h100"}) {
    const DeviceProfile profile = parse_profile(name);
    std::vector<checkpoint::Prediction> alone;
    for (std::int64_t size = 0; size < 4; ++size) alone.push_back(predict_size(profile, 100 + 50 * size));
    CHECK_FALSE(same(alone[0], alone[1]));
    const Device device = Device::dry(profile);
    const MemoryStatistics before = default_pool(device)->statistics();
    std::mutex mutex;
    int wrong = 0, failed = 0;
    std::vector<std::thread> threads;
    for (std::size_t k = 0; k < 4; ++k) {
      threads.emplace_back([&, k] {
        for (int i = 0; i < 40; ++i) {
          try {
            const bool agrees =
                same(predict_size(profile, 100 + 50 * static_cast<std::int64_t>(k)), alone[k]);
            const std::lock_guard guard(mutex);
            wrong += agrees ? 0 : 1;
          } catch (const std::exception&) {
            const std::lock_guard guard(mutex);
            ++failed;
          }
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(wrong == 0);
    CHECK(failed == 0);
    CHECK(default_pool(device)->statistics() == before);
    CHECK(Device::dry(profile) == device);
    CHECK(same(predict_size(profile, 100), alone[0]));
  }
}

TEST_CASE("a prediction inside another has the same device and its own numbers", "[predict]") {
  const DeviceProfile profile = parse_profile("24GiB");
  const checkpoint::Prediction alone = predict_size(profile, 100);
  int inside = 0;
  checkpoint::predict(profile, [&] {
    const Device outer = default_device();
    return [&, outer](checkpoint::PhaseMeter&) {
      inside += same(predict_size(profile, 100), alone) && default_device() == outer ? 1 : 100;
    };
  });
  CHECK(inside > 0);
  CHECK(inside < 100);
}

TEST_CASE("more memory than can be counted is out of memory", "[predict][memory]") {
  const auto build = [] {
    return [](checkpoint::PhaseMeter&) {
      std::vector<Tensor> all;
      const std::int64_t half_eib = std::int64_t{1} << 57;  // elements of 4 bytes
      for (int i = 0; i < 40; ++i) all.push_back(empty({half_eib}));
    };
  };
  CHECK_THROWS_WITH(checkpoint::predict(parse_profile("cpu"), build),
                    Contains("all that a pool keeps books of") && !Contains("-"));
  CHECK_THROWS_AS(checkpoint::predict(parse_profile("cpu"), build), OutOfMemory);
  // What is summed up over time stays at the largest number.
  const checkpoint::Prediction many = checkpoint::predict(parse_profile("cpu"), [] {
    return [](checkpoint::PhaseMeter&) {
      for (int i = 0; i < 40; ++i) empty({std::int64_t{1} << 57});
    };
  });
  CHECK(many.memory.all.allocated.total == INT64_MAX);
  CHECK(many.memory.all.allocated.peak == std::int64_t{1} << 59);
  CHECK(many.memory.all.allocated.current == 0);
}
