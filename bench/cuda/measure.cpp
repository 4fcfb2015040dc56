#include "measure.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <random>

#include "reprise/error.h"
#include "reprise/kernels/device.h"

namespace reprise::bench {
namespace {

namespace cuda = kernels::cuda;

constexpr int kWarmUp = 3;
constexpr int kFewest = 20, kMost = 200;
constexpr double kEnoughMs = 30;

/// Points in the time of a stream.
class Events {
 public:
  explicit Events(int count) {
    for (int i = 0; i < count; ++i) events_.push_back(cuda::create_event(true));
  }
  Events(const Events&) = delete;
  Events& operator=(const Events&) = delete;
  ~Events() {
    for (cuda::Event event : events_) cuda::destroy_event(event);
  }
  void record(int i, cuda::Stream stream) {
    cuda::record_event(events_[static_cast<std::size_t>(i)], stream);
  }
  std::vector<double> between() const {
    std::vector<double> ms;
    for (std::size_t i = 1; i < events_.size(); ++i)
      ms.push_back(static_cast<double>(cuda::elapsed_ms(events_[i - 1], events_[i])));
    return ms;
  }

 private:
  std::vector<cuda::Event> events_;
};

/// The highest value of `key` among rows of `family`.
double best(const nlohmann::json& rows, const std::string& family, const char* key) {
  double most = 0;
  for (const nlohmann::json& row : rows) {
    if (row["family"] == family && row.contains(key)) most = std::max(most, row[key].get<double>());
  }
  return most;
}

double ratio(double a, double b) { return b > 0 ? a / b : 0; }

void print_line(const nlohmann::json& row, const std::string& result) {
  const auto of = [&](const char* key) { return row[key].get<std::string>(); };
  fmt::print("{:<14} {:<18} {:<9} {:<24} {}\n", of("family"), of("kernel"), of("dtype"), of("shape"), result);
}

}  // namespace

Times summarise(std::vector<double> ms) {
  Times times;
  times.all = ms;
  std::sort(ms.begin(), ms.end());
  const std::size_t n = ms.size();
  times.median = n % 2 == 1 ? ms[n / 2] : 0.5 * (ms[n / 2 - 1] + ms[n / 2]);
  times.least = ms.front();
  times.most = ms.back();
  return times;
}

Times time_on_device(const std::function<void()>& work, int warm_up, int count) {
  for (int i = 0; i < warm_up; ++i) work();
  synchronise();
  const cuda::Stream stream = queue_of(default_device()).stream;
  Events events(count + 1);
  events.record(0, stream);
  for (int i = 0; i < count; ++i) {
    work();
    events.record(i + 1, stream);
  }
  synchronise();
  return summarise(events.between());
}

void run_profiled(const std::function<void()>& work) {
  synchronise();
  cuda::push_range(kProfiled);
  work();
  cuda::pop_range();
  synchronise();
}

void Suite::measure(const std::string& family, const std::string& name, DType dtype, const std::string& shape,
                    Cost cost, const std::function<void(const kernels::Queue&)>& work) {
  nlohmann::json row{
      {"family", family}, {"kernel", name}, {"dtype", std::string(name_of(dtype))}, {"shape", shape}};
  try {
    const kernels::Queue queue = queue_of(default_device());
    const auto run = [&] { work(queue); };
    if (scale.profile) {
      run();  // libraries choose their algorithms
      run_profiled(run);
      print_line(row, "profiled");
      return;
    }
    const double once = time_on_device(run, kWarmUp, 1).median;
    const int count =
        scale.smoke
            ? 2
            : static_cast<int>(std::clamp(kEnoughMs / std::max(once, 1e-3), double{kFewest}, double{kMost}));
    const Times times = time_on_device(run, 0, count);
    row.update({{"ms_median", times.median},
                {"ms_min", times.least},
                {"ms_max", times.most},
                {"repetitions", count},
                {"bytes", cost.bytes},
                {"flops", cost.flops}});
    if (cost.bytes > 0) row["gb_per_s"] = ratio(cost.bytes * 1e-6, times.median);
    if (cost.flops > 0) row["tflops"] = ratio(cost.flops * 1e-9, times.median);
    const std::string rate = cost.bytes > 0
                                 ? fmt::format("{:.1f} GB/s", ratio(cost.bytes * 1e-6, times.median))
                                 : fmt::format("{:.2f} TFLOP/s", ratio(cost.flops * 1e-9, times.median));
    print_line(row, fmt::format("{:9.4f} ms  {}", times.median, rate));
  } catch (const std::exception& error) {
    failed_ = true;
    row["error"] = error.what();
    print_line(row, error.what());
  }
  rows_.push_back(std::move(row));
}

void Suite::measure_copy() {
  const std::int64_t bytes = scale.elements(DType::boolean);
  const Tensor from = zeros({bytes}, {.dtype = DType::boolean});
  const Tensor to = empty({bytes}, {.dtype = DType::boolean});
  measure("reference", "runtime's copy", DType::boolean, fmt::format("{}", bytes),
          {.bytes = 2.0 * static_cast<double>(bytes)}, [&](const kernels::Queue& queue) {
            cuda::copy_bytes(view(to).data, view(from).data, static_cast<std::size_t>(bytes),
                             cuda::CopyKind::device_to_device, queue.stream);
          });
  const Tensor numbers = zeros({bytes / 4}), copied = empty({bytes / 4});
  measure("reference", "our copy", DType::float32, fmt::format("{}", bytes / 4),
          {.bytes = 2.0 * static_cast<double>(bytes)},
          [&](const kernels::Queue& queue) { kernels::copy(queue, view(numbers), into(copied)); });
}

nlohmann::json Suite::results() const {
  const double copy = best(rows_, "reference", "gb_per_s");
  const double product = best(rows_, "matmul", "tflops");
  nlohmann::json rows = rows_;
  for (nlohmann::json& row : rows) {
    if (row.contains("gb_per_s")) row["share_of_copy"] = ratio(row["gb_per_s"].get<double>(), copy);
    if (row.contains("tflops")) row["share_of_matmul"] = ratio(row["tflops"].get<double>(), product);
  }
  return {{"copy_gb_per_s", copy}, {"matmul_tflops", product}, {"rows", std::move(rows)}};
}

Tensor random_ids(const Shape& shape, std::int64_t bound) {
  std::mt19937_64 random(1);
  std::vector<std::int32_t> ids(static_cast<std::size_t>(shape.numel()));
  for (std::int32_t& id : ids) id = static_cast<std::int32_t>(random() % static_cast<std::uint64_t>(bound));
  return from_host<std::int32_t>(ids, shape);
}

nlohmann::json read_workloads(const std::string& path, bool smoke) {
  std::ifstream file(path);
  if (!file) throw Error(fmt::format("[bench] cannot read {}", path));
  try {
    return nlohmann::json::parse(file).at(smoke ? "smoke" : "full");
  } catch (const nlohmann::json::exception& error) {
    throw Error(fmt::format("[bench] {} is no file of workloads: {}", path, error.what()));
  }
}

nlohmann::json describe_device() {
  const cuda::DeviceInfo info = cuda::device_info(default_device().index);
  return {{"name", info.name},
          {"compute_capability", fmt::format("{}.{}", info.major, info.minor)},
          {"multiprocessors", info.multiprocessors},
          {"total_bytes", info.total_bytes},
          {"libraries", cuda::build().libraries},
          {"architectures", cuda::build().architectures}};
}

}  // namespace reprise::bench
