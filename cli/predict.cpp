// reprise predict: what a training step would take on a device that need not be there.
#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>

#include "cli/dry_run.h"
#include "cli/files.h"
#include "cli/format.h"
#include "cli/json.h"
#include "cli/output.h"
#include "cli/session.h"
#include "cli/table.h"

namespace reprise::cli {
namespace {

constexpr std::int64_t kMostToFit = 1 << 24;  // as many as the options take

struct Row {
  checkpoint::Setting setting;
  checkpoint::Prediction prediction;
  bool fits = true;
  std::optional<std::int64_t> largest;
};

RunOptions without_capacity(RunOptions options) {
  options.capacity_mib.reset();
  return options;
}

/// With the capacity where the step fits it, else without.
Row predict_setting(const PredictOptions& options, const checkpoint::Setting& setting,
                    const DeviceProfile& profile, std::int64_t steps) {
  try {
    return {.setting = setting, .prediction = dry_run(options, setting, profile, steps), .largest = {}};
  } catch (const OutOfMemory&) {
    return {.setting = setting,
            .prediction = dry_run(without_capacity(options), setting, unlimited(profile), steps),
            .fits = false,
            .largest = {}};
  }
}

bool fits(const PredictOptions& options, const checkpoint::Setting& setting, const DeviceProfile& profile,
          std::int64_t value) {
  constexpr std::int64_t kStepsUntilSteady = 3;
  PredictOptions sized = options;
  (options.fit == Fit::batch ? sized.batch : sized.seq) = value;
  try {
    dry_run(sized, setting, profile, kStepsUntilSteady);
    return true;
  } catch (const OutOfMemory&) {
    return false;
  }
}

/// The largest batch or sequence that fits, found by doubling and halving; 0 when none does.
std::int64_t largest_that_fits(const PredictOptions& options, const checkpoint::Setting& setting,
                               const DeviceProfile& profile) {
  const std::int64_t least = options.model == "resnet" ? 2 : 1;
  if (!fits(options, setting, profile, least)) return 0;
  std::int64_t good = least;
  std::int64_t bad = 2 * least;
  while (bad < kMostToFit && fits(options, setting, profile, bad)) {
    good = bad;
    bad *= 2;
  }
  while (bad - good > 1) {
    const std::int64_t middle = good + (bad - good) / 2;
    (fits(options, setting, profile, middle) ? good : bad) = middle;
  }
  return good;
}

void print_rows(const std::vector<Row>& rows, Fit fit) {
  std::vector<Column> columns{{.title = "segments", .align = Align::left},
                              {.title = "activations", .unit = "peak"},
                              {.title = "", .unit = "of first"},
                              {.title = "allocated", .unit = "peak"},
                              {.title = "requested", .unit = "peak"},
                              {.title = "reserved", .unit = "peak"},
                              {.title = "forward", .unit = "peak"},
                              {.title = "backward", .unit = "peak"},
                              {.title = "optimiser", .unit = "peak"},
                              {.title = "replayed", .unit = "nodes"},
                              {.title = "recomputed", .unit = "of a step"},
                              {.title = "fits"}};
  if (fit != Fit::nothing)
    columns.push_back({.title = "largest", .unit = fit == Fit::batch ? "batch" : "seq"});
  Table table(columns);
  const auto first = static_cast<double>(rows[0].prediction.memory.activations.allocated.peak);
  for (const Row& row : rows) {
    const checkpoint::Prediction& p = row.prediction;
    const auto phase = [&](Phase which) { return format_bytes(p.phases.of(which).all.allocated.peak); };
    std::vector<Cell> cells{checkpoint::to_string(row.setting),
                            format_bytes(p.memory.activations.allocated.peak),
                            format_percent(static_cast<double>(p.memory.activations.allocated.peak), first),
                            format_bytes(p.memory.all.allocated.peak),
                            format_bytes(p.memory.all.requested.peak),
                            format_bytes(p.memory.reserved.peak),
                            phase(Phase::forward),
                            phase(Phase::backward),
                            phase(Phase::optimiser),
                            format_count(p.tape.replayed_nodes),
                            fmt::format("+{:.1f} %", 100 * p.recomputed_share()),
                            {row.fits ? "yes" : "no", row.fits ? Tone::good : Tone::bad}};
    if (row.largest) cells.emplace_back(*row.largest == 0 ? "none" : format_count(*row.largest));
    table.add_row(std::move(cells));
  }
  say_styled("\n" + table.render(standard_output()) + "\n");
}

void print_peaks(const std::vector<Row>& rows) {
  std::vector<Column> columns{{.title = "at the peak", .align = Align::left}};
  for (std::size_t i = 0; i < kCategories; ++i)
    columns.push_back({.title = std::string(name_of(static_cast<Category>(i)))});
  columns.push_back({.title = "who asked last", .align = Align::left});
  Table table(columns);
  for (const Row& row : rows) {
    std::vector<Cell> cells{checkpoint::to_string(row.setting)};
    for (const std::int64_t bytes : row.prediction.peak.by_category)
      cells.emplace_back(bytes == 0 ? "–" : format_bytes(bytes));
    cells.emplace_back(describe(row.prediction.peak.origin));
    table.add_row(std::move(cells));
  }
  say_styled(table.render(standard_output()));
}

nlohmann::json peak_json(const MemoryPeak& peak) {
  nlohmann::json json{{"allocated_bytes", peak.allocated}, {"origin", describe(peak.origin)}};
  for (std::size_t i = 0; i < kCategories; ++i)
    json["by_category"][std::string(name_of(static_cast<Category>(i)))] = peak.by_category[i];
  json["by_segment"] = nlohmann::json::object();
  for (const auto& [tag, bytes] : peak.by_tag) json["by_segment"][tag] = bytes;
  return json;
}

nlohmann::json usage_json(const MemoryStatistics& statistics) {
  return {{"requested_bytes", statistics.all.requested.peak},
          {"allocated_bytes", statistics.all.allocated.peak},
          {"reserved_bytes", statistics.reserved.peak}};
}

nlohmann::json row_json(const Row& row) {
  const checkpoint::Prediction& p = row.prediction;
  nlohmann::json json{{"segments", checkpoint::to_string(row.setting)},
                      {"peak_allocated_bytes", p.memory.all.allocated.peak},
                      {"peak_requested_bytes", p.memory.all.requested.peak},
                      {"peak_reserved_bytes", p.memory.reserved.peak},
                      {"peak_activation_bytes", p.memory.activations.allocated.peak},
                      {"replayed_nodes", p.tape.replayed_nodes},
                      {"overhead", p.recomputed_share()},
                      {"fits", row.fits},
                      {"peak", peak_json(p.peak)}};
  for (const Phase phase : {Phase::forward, Phase::backward, Phase::optimiser})
    json["phases"][std::string(name_of(phase))] = usage_json(p.phases.of(phase));
  for (std::size_t i = 0; i < kCategories; ++i) {
    json["peak_by_category_bytes"][std::string(name_of(static_cast<Category>(i)))] =
        p.memory.by_category[i].allocated.peak;
  }
  if (row.largest) json["largest"] = *row.largest;
  return json;
}

void require_one_that_fits(const std::vector<Row>& rows, std::size_t capacity) {
  std::int64_t least = INT64_MAX;
  for (const Row& row : rows) {
    if (row.fits) return;
    least = std::min(least, row.prediction.memory.all.allocated.peak);
  }
  throw Error(
      fmt::format("[predict] no setting fits {}: the least that a step takes is {} at once, and its pool "
                  "some more; use a smaller model or batch",
                  format_bytes(capacity), format_bytes(least)));
}

}  // namespace

int predict(const PredictOptions& options) {
  require_writable(options.json);
  require_distinct({{"--json", options.json}}, {{"--data", options.data}});
  set_threads(options);
  const DeviceProfile profile = parse_profile(options.device);
  const std::size_t capacity = std::min(profile.capacity_bytes, capacity_of(options));
  if (options.graph) throw ValueError("[predict] --graph is not predicted; leave it out");
  if (options.fit != Fit::nothing && capacity == kUnlimited)
    throw ValueError("[predict] --fit needs a capacity: give --device h200, 24GiB, ... or --capacity MIB");
  if (options.fit == Fit::seq && options.model != "gpt")
    throw ValueError("[predict] --fit seq is for gpt; give --fit batch");
  const std::int64_t steps = options.steps.value_or(10);
  std::vector<Row> rows;
  for (const checkpoint::Setting& setting : options.segments)
    rows.push_back(predict_setting(options, setting, profile, steps));
  if (options.fit != Fit::nothing) {
    for (Row& row : rows) row.largest = largest_that_fits(options, row.setting, profile);
  }
  const std::string description = describe_dry(options, profile);
  if (!options.json.empty()) {
    nlohmann::json json{{"model", options.model},
                        {"description", description},
                        {"device", profile.name},
                        {"steps", steps},
                        {"rows", nlohmann::json::array()}};
    if (capacity != kUnlimited) json["capacity_bytes"] = capacity;
    if (profile.bytes_beside_pool > 0) json["bytes_beside_pool"] = profile.bytes_beside_pool;
    for (const Row& row : rows) json["rows"].push_back(row_json(row));
    write_file_atomically(options.json, json_text(json) + "\n");
  }
  say("{}\non {} ({}), nothing is computed\n", description, profile.name,
      capacity == kUnlimited ? "no limit" : format_bytes(capacity));
  print_rows(rows, options.fit);
  print_peaks(rows);
  if (profile.bytes_beside_pool > 0) {
    say("Beside the pool {} keeps {} for the driver's context and the libraries.\n", profile.name,
        format_bytes(profile.bytes_beside_pool));
  }
  require_one_that_fits(rows, capacity);
  return 0;
}

}  // namespace reprise::cli
