// reprise compare: the same steps of the same model under several settings of its segments, each in a pool of
// its own.
#include <fmt/format.h>

#include <algorithm>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/dry_run.h"
#include "cli/files.h"
#include "cli/format.h"
#include "cli/json.h"
#include "cli/output.h"
#include "cli/plot.h"
#include "cli/progress.h"
#include "cli/report/report.h"
#include "cli/session.h"
#include "cli/signals.h"
#include "cli/step_times.h"
#include "cli/table.h"
#include "cli/task.h"
#include "cli/utf8.h"

namespace reprise::cli {
namespace {

constexpr std::int64_t kStepsPerTurn =
    5;  // consecutive steps of one setting: the first of each turn finds cold caches

/// One setting: its pool, model, optimiser and generator, and what was measured.
struct Run {
  checkpoint::Setting setting;
  std::shared_ptr<Pool> pool;
  std::unique_ptr<Task> task;
  std::unique_ptr<Stepper> stepper;
  Generator generator;
  std::vector<double> losses;
  std::vector<double> step_ms;
  std::int64_t replayed_nodes = 0;
  std::vector<SegmentInfo> before;  // the pool when the last step began
  std::vector<MemoryEvent> events;  // of the last step
  bool truncated = false;

  MemoryStatistics memory() const { return pool->statistics(); }
};

struct Row {
  std::string segments;
  MemoryStatistics memory;
  StepTimes times;
  std::int64_t replayed_nodes = 0;
  std::string losses, gradients, parameters;
};

std::string digest_of(const std::vector<double>& losses) {
  const Tensor tensor =
      from_host<double>(losses, {static_cast<std::int64_t>(losses.size())}, {.dtype = DType::float64});
  return nn::digest({&tensor, 1});
}

std::string gradient_digest(Task& task) {
  std::vector<Tensor> gradients;
  for (const Tensor& parameter : task.parameters()) gradients.push_back(parameter.grad());
  return nn::digest(gradients);
}

/// Parameters, buffers, and where the generator stands.
std::string state_digest(Run& run) {
  std::vector<Tensor> state = run.task->parameters();
  for (const Tensor& buffer : run.task->buffers()) state.push_back(buffer);
  const std::vector<std::int64_t> generator{static_cast<std::int64_t>(run.generator.seed),
                                            static_cast<std::int64_t>(run.generator.next)};
  state.push_back(tensor<std::int64_t>(generator, {2}));
  return nn::digest(state);
}

/// The run's own pool and generator in force, until the end of the scope.
class InRun {
 public:
  explicit InRun(Run& run) : run_(run), before_(default_pool()) {
    set_default_pool(run.pool);
    std::swap(generator(), run.generator);
  }
  ~InRun() {
    std::swap(generator(), run_.generator);
    set_default_pool(before_);
  }
  InRun(const InRun&) = delete;
  InRun& operator=(const InRun&) = delete;

 private:
  Run& run_;
  std::shared_ptr<Pool> before_;
};

template <class F>
void inside(Run& run, F&& body) {
  const InRun scope(run);
  std::forward<F>(body)();
}

Run prepare(const CompareOptions& options, const TaskFactory& factory, const checkpoint::Setting& setting,
            std::int64_t steps) {
  Run run;
  run.setting = setting;
  run.pool = make_pool(options);
  inside(run, [&] {
    saying_what_fits(options, setting, [&] {
      run.task = factory.make();
      run.task->set_segments(setting);
      run.stepper = std::make_unique<Stepper>(*run.task, options, steps);
    });
  });
  return run;
}

void keep_trace(Run& run, const MemoryTrace& trace) {
  run.before = trace.before();
  run.events = trace.events();
  run.truncated = trace.truncated();
}

void step(const CompareOptions& options, Run& run, std::int64_t i, bool last) {
  inside(run, [&] {
    std::unique_ptr<MemoryTrace> trace = last ? std::make_unique<MemoryTrace>(*run.pool) : nullptr;
    reset_tape_counters();
    const double start = now_ms();
    run.losses.push_back(saying_what_fits(options, run.setting, [&] { return run.stepper->step(i); }));
    synchronise();
    run.step_ms.push_back(now_ms() - start);
    run.replayed_nodes = tape_counters().replayed_nodes;
    if (trace != nullptr) keep_trace(run, *trace);
  });
}

/// Steps all runs in turns, so that a change of the machine's speed meets all of them. False when
/// interrupted.
bool step_all(const CompareOptions& options, std::vector<Run>& runs, std::int64_t steps) {
  Progress progress(std::cerr, standard_error(), "compare", steps * static_cast<std::int64_t>(runs.size()));
  std::int64_t done = 0;
  for (std::int64_t first = 0; first < steps; first += kStepsPerTurn) {
    for (Run& run : runs) {
      for (std::int64_t i = first; i < std::min(steps, first + kStepsPerTurn); ++i) {
        if (interrupted()) return false;
        step(options, run, i, i + 1 == steps);
        progress.update(++done, checkpoint::to_string(run.setting));
      }
    }
  }
  progress.finish();
  return true;
}

std::vector<Row> summarise(std::vector<Run>& runs) {
  std::vector<Row> rows;
  for (Run& run : runs) {
    Row row;
    row.segments = checkpoint::to_string(run.setting);
    row.memory = run.memory();
    row.times = summarise_times(run.step_ms);
    row.replayed_nodes = run.replayed_nodes;
    inside(run, [&] {
      row.losses = digest_of(run.losses);
      row.gradients = gradient_digest(*run.task);
    });
    row.parameters = state_digest(run);
    rows.push_back(std::move(row));
  }
  return rows;
}

bool all_equal(const std::vector<Row>& rows) {
  return std::all_of(rows.begin(), rows.end(), [&](const Row& row) {
    return row.losses == rows[0].losses && row.gradients == rows[0].gradients &&
           row.parameters == rows[0].parameters;
  });
}

Tone digest_tone(const std::string& digest, const std::string& reference) {
  return digest == reference ? Tone::good : Tone::bad;
}

const std::vector<Column>& columns() {
  static const std::vector<Column> all{{.title = "segments", .align = Align::left},
                                       {.title = "activations", .unit = "peak"},
                                       {.title = "", .unit = "of first"},
                                       {.title = "allocated", .unit = "peak"},
                                       {.title = "requested", .unit = "peak"},
                                       {.title = "reserved", .unit = "peak"},
                                       {.title = "step", .unit = "median"},
                                       {.title = "", .unit = "least–most"},
                                       {.title = "overhead"},
                                       {.title = "replayed", .unit = "nodes"},
                                       {.title = "losses", .unit = "digest"},
                                       {.title = "gradients", .unit = "digest"},
                                       {.title = "parameters", .unit = "digest"}};
  return all;
}

std::vector<Cell> cells_of(const Row& row, const Row& first) {
  const auto activations = static_cast<double>(row.memory.activations.allocated.peak);
  return {row.segments,
          format_bytes(row.memory.activations.allocated.peak),
          format_percent(activations, static_cast<double>(first.memory.activations.allocated.peak)),
          format_bytes(row.memory.all.allocated.peak),
          format_bytes(row.memory.all.requested.peak),
          format_bytes(row.memory.reserved.peak),
          format_ms(row.times.median_ms),
          {spread_text(row.times), Tone::faint},
          overhead_text(row.times, first.times),
          format_count(row.replayed_nodes),
          {row.losses.substr(0, 8), digest_tone(row.losses, first.losses)},
          {row.gradients.substr(0, 8), digest_tone(row.gradients, first.gradients)},
          {row.parameters.substr(0, 8), digest_tone(row.parameters, first.parameters)}};
}

void print_rows(const std::vector<Row>& rows) {
  Table table(columns());
  for (const Row& row : rows) table.add_row(cells_of(row, rows[0]));
  say_styled("\n" + table.render(standard_output()));
}

std::string remark_on_times(const std::vector<Row>& rows) {
  std::vector<StepTimes> times;
  times.reserve(rows.size());
  for (const Row& row : rows) times.push_back(row.times);
  return remark_on_times(times);
}

std::string verdict(const std::vector<Row>& rows) {
  return all_equal(rows) ? "losses, gradients and parameters are equal to the last bit" : "DIGESTS DIFFER";
}

nlohmann::json to_json(const CompareOptions& options, const std::vector<Run>& runs,
                       const std::vector<Row>& rows, std::int64_t steps) {
  nlohmann::json json{{"model", options.model},
                      {"description", runs[0].task->describe()},
                      {"data", runs[0].task->data_name()},
                      {"steps", steps},
                      {"digests_equal", all_equal(rows)},
                      {"rows", nlohmann::json::array()}};
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const Row& row = rows[i];
    json["rows"].push_back({{"segments", row.segments},
                            {"peak_allocated_bytes", row.memory.all.allocated.peak},
                            {"peak_requested_bytes", row.memory.all.requested.peak},
                            {"peak_reserved_bytes", row.memory.reserved.peak},
                            {"peak_activation_bytes", row.memory.activations.allocated.peak},
                            {"step_ms_median", row.times.median_ms},
                            {"step_ms", runs[i].step_ms},
                            {"overhead", row.times.median_ms / rows[0].times.median_ms - 1},
                            {"overhead_certain", row.times.certain() && rows[0].times.certain()},
                            {"replayed_nodes", row.replayed_nodes},
                            {"losses", row.losses},
                            {"loss_values", runs[i].losses},
                            {"gradient_digest", row.gradients},
                            {"parameter_digest", row.parameters}});
  }
  return json;
}

void write_plot(const CompareOptions& options, const std::vector<Run>& runs) {
  std::vector<Series> series;
  for (const Run& run : runs) {
    Series line{.name = checkpoint::to_string(run.setting), .points = {}};
    // Every setting over the whole width: replays make the same step longer in events.
    const auto last = static_cast<double>(std::max<std::size_t>(run.events.size(), 2) - 1);
    for (std::size_t i = 0; i < run.events.size(); ++i) {
      line.points.emplace_back(100 * static_cast<double>(i) / last,
                               static_cast<double>(run.events[i].live_activations));
    }
    series.push_back(std::move(line));
  }
  write_file_atomically(options.plot,
                        render_memory_svg("Activations over one training step", runs[0].task->describe(),
                                          "progress of the step, % of its allocations and frees", series));
  say("plot: {}\n", printable(options.plot));
}

/// The spans of one more step: on CUDA, measuring them makes a step longer.
std::vector<Span> trace_spans(Run& run, std::int64_t step) {
  stop_if_interrupted();
  std::vector<Span> spans;
  inside(run, [&] {
    const SpanTrace trace;
    run.stepper->step(step);
    spans = trace.spans();
  });
  return spans;
}

void write_report(const CompareOptions& options, std::vector<Run>& runs, const std::vector<Row>& rows,
                  std::int64_t steps) {
  Report report{.title = "Memory over one training step",
                .description = runs[0].task->describe(),
                .data = runs[0].task->data_name(),
                .device = to_string(default_device()),
                .verdict = verdict(rows),
                .remark = remark_on_times(rows),
                .columns = columns(),
                .runs = {}};
  for (std::size_t i = 0; i < runs.size(); ++i) {
    report.runs.push_back({.segments = rows[i].segments,
                           .cells = cells_of(rows[i], rows[0]),
                           .peak_activations = rows[i].memory.activations.allocated.peak,
                           .step_ms = rows[i].times.median_ms,
                           .certain_time = rows[i].times.certain(),
                           .before = runs[i].before,
                           .events = runs[i].events,
                           .truncated = runs[i].truncated,
                           .spans = trace_spans(runs[i], steps)});
  }
  write_report(options.report, report);
  say("report: {}/report.html, with snapshots for PyTorch's memory viewer and trace.json for Perfetto\n",
      printable(options.report));
}

/// A report can be written, and no file that will be is another.
void check_files(const CompareOptions& options) {
  std::vector<NamedFile> written{{"--json", options.json}, {"--plot", options.plot}};
  std::vector<std::string> settings;
  for (const checkpoint::Setting& setting : options.segments)
    settings.push_back(checkpoint::to_string(setting));
  if (!options.report.empty()) {
    for (const std::filesystem::path& file : prepare_report_folder(options.report, settings))
      written.emplace_back("--report", file);
  }
  require_distinct(written, {{"--data", options.data}});
}

/// Every run keeps its pool until the end.
std::int64_t bytes_of_all(const CompareOptions& options) {
  double bytes = 0;  // a sum of large ones does not wrap
  for (const checkpoint::Setting& setting : options.segments)
    bytes += static_cast<double>(bytes_of_a_step(options, setting));
  return bytes < 0x1p62 ? static_cast<std::int64_t>(bytes) : INT64_MAX;
}

bool nobody_listens(const CompareOptions& options) {
  return output_lost() && options.json.empty() && options.plot.empty() && options.report.empty();
}

/// What is made of the results. False where something of it failed.
bool present(const CompareOptions& options, std::vector<Run>& runs, const std::vector<Row>& rows,
             std::int64_t steps) {
  bool complete =
      options.json.empty() || attempt("writing the results", [&] {
        write_file_atomically(options.json, json_text(to_json(options, runs, rows, steps)) + "\n");
      });
  print_rows(rows);
  if (const std::string remark = remark_on_times(rows); !remark.empty()) say("{}\n", remark);
  say("{}\n", verdict(rows));
  if (const std::string remark = remark_on_loss(runs[0].losses.back()); !remark.empty()) say("{}\n", remark);
  if (!options.plot.empty())
    complete = attempt("writing the plot", [&] { write_plot(options, runs); }) && complete;
  if (!options.report.empty())
    complete = attempt("the report", [&] { write_report(options, runs, rows, steps); }) && complete;
  return complete;
}

}  // namespace

int compare(const CompareOptions& options) {
  for (const std::string& file : {options.json, options.plot}) require_writable(file);
  begin(options);
  const std::int64_t steps = options.steps.value_or(10);
  const std::unique_ptr<TaskFactory> factory = task_factory(options);
  const EmptyFolders unused(options.report);
  check_files(options);
  if (default_device().kind == DeviceKind::cpu && !options.capacity_mib)
    require_memory(options, bytes_of_all(options));
  const WithoutEstimates predicted_instead;
  std::vector<Run> runs;
  for (const checkpoint::Setting& setting : options.segments)
    runs.push_back(prepare(options, *factory, setting, steps));
  say("{}\n{}; {}\n", runs[0].task->describe(), printable(runs[0].task->data_name()),
      format_counted(steps, "step"));
  if (nobody_listens(options)) throw NobodyListens{};
  if (!step_all(options, runs, steps)) throw Interrupted{};
  const std::vector<Row> rows = summarise(runs);
  const bool complete = present(options, runs, rows, steps);
  if (!all_equal(rows)) return 1;
  return complete ? 0 : kIncomplete;
}

}  // namespace reprise::cli
