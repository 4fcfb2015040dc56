// Calls that fail once: of the runtime, of cuBLASLt and cuDNN, and of graphs.
#include <cuda_runtime_api.h>
#include <unistd.h>

#include <cstdio>

#include "sweep.h"

namespace reprise::test {
namespace {

using simt::runtime::Control;

/// What is written to the standard error while it lives.
class StandardError {
 public:
  StandardError() : before_(dup(STDERR_FILENO)), file_(std::tmpfile()) {
    std::fflush(stderr);
    dup2(fileno(file_), STDERR_FILENO);
  }
  StandardError(const StandardError&) = delete;
  StandardError& operator=(const StandardError&) = delete;
  ~StandardError() {
    std::fflush(stderr);
    dup2(before_, STDERR_FILENO);
    close(before_);
    std::fclose(file_);
  }
  int lines() const {
    std::fflush(stderr);
    std::rewind(file_);
    int count = 0;
    for (int c = 0; (c = std::fgetc(file_)) != EOF;) count += c == '\n' ? 1 : 0;
    return count;
  }

 private:
  int before_;
  std::FILE* file_;
};

struct Fault {
  const char* what;
  int error = cudaErrorUnknown;
  bool releases = false;  // calls that release something fail too
  bool for_good = false;
};
constexpr Fault kFaults[] = {{.what = "an unknown error"},
                             {.what = "a failed launch", .error = cudaErrorLaunchFailure},
                             {.what = "any call", .releases = true},
                             {.what = "a lost device", .error = cudaErrorLaunchFailure, .for_good = true}};

/// Fails calls of a run that has `calls` of them, so many apart that there are about `most`.
void fail_calls(const Model& model, const TrainingOptions& options, const Fault& fault, std::int64_t most) {
  INFO(model.name << ", segments " << options.segments << ", " << fault.what);
  StandIn stand_in;
  const Attempt plain = attempt(model, options);
  CHECK(plain.error == "");
  StandIn::start_again();
  stand_in->fail_releases = fault.releases;
  CHECK(attempt(model, options) == plain);
  const std::int64_t calls = simt::runtime::calls_total();
  CHECK(calls > 300);
  const std::int64_t stride = std::max<std::int64_t>(1, calls / most);
  const auto prepare = [&] {
    stand_in->fail_cuda = fault.error;
    stand_in->fail_releases = fault.releases;
    stand_in->fail_for_good = fault.for_good;
  };
  const StandardError quiet;
  const Sweep all = sweep(
      stand_in, &Control::fail_call, stride, [&] { return model.train(options); }, plain.outcome, prepare,
      [&](const Attempt& result) { CHECK_FALSE(result.out_of_memory); });
  CHECK(all.faults >= calls / stride);
  // Some are forgiven: at the end of something, and while a graph is captured.
  CHECK(all.errors > all.faults / 4);
}

constexpr std::int64_t kAll = 1'000'000;

void fail_calls(std::int64_t most) {
  for (const Model& model : kModels) {
    for (const Fault& fault : kFaults) {
      fail_calls(model, {.segments = "blocks", .steps = 1}, fault, most);
      fail_calls(model, {.segments = "none", .steps = 3, .graph = true}, fault, most);
    }
  }
}

}  // namespace

TEST_CASE("a call that fails is reported, leaves nothing, and the next run is right", "[simt][engine]") {
  fail_calls(6);
}

TEST_CASE("every call that fails is reported", "[simt][engine][slow]") {
  fail_calls(40);
  for (const Model& model : kModels) {
    fail_calls(model, {.segments = "blocks", .steps = 1}, kFaults[0], kAll);
    fail_calls(model, {.segments = "none", .steps = 3, .graph = true}, kFaults[0], kAll);
  }
}

TEST_CASE("each call of a device's first use may fail", "[simt][engine]") {
  StandIn stand_in;
  const auto run = [] {
    const Tensor sum = tensor<float>({1, 2, 3}, {3}) + ones({3});
    Outcome result;
    result.losses = sum.to_vector<double>();
    return result;
  };
  Outcome expected;
  expected.losses = {2, 3, 4};
  for (const Fault& fault : kFaults) {
    INFO(fault.what);
    const auto prepare = [&] {
      stand_in->fail_cuda = fault.error;
      stand_in->fail_releases = fault.releases;
      stand_in->fail_for_good = fault.for_good;
    };
    const Sweep all = sweep(stand_in, &Control::fail_call, 1, run, expected, prepare, [](const Attempt&) {});
    CHECK(all.errors > 20);
  }
}

TEST_CASE("a copy that fails leaves none behind that still reads or writes", "[simt][engine]") {
  struct Failure {
    const char* name;
    std::int64_t call;  // of that name, within the copy
    bool upload;
  };
  const auto failure = GENERATE(values<Failure>({{"cudaEventRecord", 1, true},
                                                 {"cudaEventRecord", 2, true},
                                                 {"cudaStreamWaitEvent", 1, true},
                                                 {"cudaMemcpyAsync", 1, false},
                                                 {"cudaStreamSynchronize", 0, false}}));
  CAPTURE(failure.name, failure.call, failure.upload);
  StandIn stand_in;
  {
    const OnDevice cuda(Device::cuda());
    const Tensor there = ones({3});
    synchronise();
    stand_in->fail_name = failure.name;
    stand_in->fail_call = failure.call;
    std::string error;
    try {
      if (failure.upload)
        tensor<float>({1, 2, 3}, {3});
      else
        there.to_vector<float>();
    } catch (const DeviceError& failed) {
      error = failed.what();
    }
    CHECK(names_its_operation(error));
    CHECK(simt::runtime::queued_operations() == 0);
  }
  CHECK(left_on_device() == "");
}

TEST_CASE("calls of the libraries fail with the operation's name", "[simt][engine]") {
  StandIn stand_in;
  // New sizes each time, as a plan is made once for each.
  std::int64_t size = 40, errors = 0;
  for (std::int64_t n = 0;; ++n, ++size) {
    CAPTURE(n);
    const auto run = [&] {
      const OnDevice cuda(Device::cuda());
      Tensor weight = ones({5, size}).set_requires_grad(true);
      Tensor filter = ones({2, size, 3, 3}).set_requires_grad(true);
      const Tensor y = linear(ones({3, size}), weight, ones({5}));
      const Tensor image = conv2d(ones({1, size, 4, 4}), filter);
      (sum(y) + sum(image)).backward();
      const auto check = [](const Tensor& tensor, std::int64_t value) {
        const std::vector<float> elements = tensor.to_vector<float>();  // may throw
        CHECK(elements == std::vector<float>(elements.size(), static_cast<float>(value)));
      };
      check(y, size + 1);
      check(image, 9 * size);
      check(weight.grad(), 3);
      check(filter.grad(), 4);
    };
    stand_in->fail_call = n;
    std::string error;
    try {
      run();
    } catch (const DeviceError& failed) {
      error = failed.what();
    }
    const bool met = stand_in->fail_call < 0;
    stand_in->fail_call = -1;
    if (!met) break;
    // Without a cache, waits before memory is released are forgiven.
    CHECK((names_its_operation(error) || (error.empty() && passthrough_by_default())));
    if (error.find("cuBLASLt:") != std::string::npos || error.find("cuDNN:") != std::string::npos) ++errors;
    CHECK_NOTHROW(run());
  }
  CHECK(errors > 60);
  CHECK(left_on_device() == "");
}

namespace {

/// Nothing is captured while memory comes from the device for each tensor.
void use_caching_pool() {
  set_default_pool(std::make_shared<Pool>(cuda_source(0), PoolOptions{.passthrough = false}));
}

}  // namespace

TEST_CASE("work whose capture fails runs without a graph, and says so once", "[simt][engine]") {
  const char* const name = GENERATE("cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiate");
  CAPTURE(name);
  StandIn stand_in;
  {
    const OnDevice cuda(Device::cuda());
    const StandardError output;
    use_caching_pool();
    Tensor total = zeros({3});
    CapturedWork work(Device::cuda());
    stand_in->fail_name = name;
    stand_in->fail_call = 0;
    for (int i = 0; i < 5; ++i) {
      work.run([&] {
        const NoGrad no_grad;
        total.add_(ones({3}));
      });
    }
    CHECK(stand_in->fail_call < 0);
    CHECK_FALSE(work.captured());
    CHECK(names_its_operation(work.obstacle()));
    CHECK(output.lines() == 1);
    CHECK(total.to_vector<float>() == std::vector<float>(3, 5));
    CHECK(simt::runtime::calls("cudaStreamBeginCapture") == 1);
  }
  CHECK(left_on_device() == "");
}

TEST_CASE("a graph that is not launched changes nothing and can be launched again", "[simt][engine]") {
  StandIn stand_in;
  {
    const OnDevice cuda(Device::cuda());
    use_caching_pool();
    Tensor total = zeros({3});
    CapturedWork work(Device::cuda());
    const auto run = [&] {
      work.run([&] {
        const NoGrad no_grad;
        total.add_(dropout(ones({3}), 0.25));
      });
    };
    run();
    run();
    CHECK(work.captured());
    const std::vector<float> before = total.to_vector<float>();
    const Generator numbers = generator();
    stand_in->fail_name = "cudaGraphLaunch";
    stand_in->fail_call = 0;
    CHECK_THROWS_WITH(run(), Catch::StartsWith("[launch_graph] CUDA: "));
    CHECK(total.to_vector<float>() == before);
    CHECK(generator() == numbers);
    CHECK_NOTHROW(run());
    CHECK_FALSE(total.to_vector<float>() == before);
  }
  CHECK(left_on_device() == "");
}

}  // namespace reprise::test
