#include "check.h"

#include <fmt/format.h>

#include "bytes.h"
#include "reprise/context.h"

namespace reprise::fuzz {
namespace {

/// What must be after a program as it was before.
struct Books {
  std::int64_t nodes = live_nodes();
  std::int64_t bytes = current_pool().statistics().all.requested.current;
  bool grad_enabled = reprise::grad_enabled();
  bool in_region = context().region != nullptr;
  bool tagged = context().tag != nullptr;
  bool playing = context().playing;
  bool operator==(const Books&) const = default;
};

std::string difference(const Books& before, const Books& after) {
  return fmt::format(
      "nodes {} -> {}, bytes {} -> {}, gradients {} -> {}, in a segment {} -> {}, tag {} -> {}, playing {} "
      "-> {}",
      before.nodes, after.nodes, before.bytes, after.bytes, before.grad_enabled, after.grad_enabled,
      before.in_region, after.in_region, before.tagged, after.tagged, before.playing, after.playing);
}

/// A step of its own, which must give the same bits at any time.
std::uint64_t small_step() {
  const Generator before = generator();
  manual_seed(5);
  std::uint64_t hash = 0;
  {
    const Tensor w = randn({3, 3}, {.dtype = DType::float64}).set_requires_grad(true);
    const Tensor x = randn({2, 3}, {.dtype = DType::float64});
    Tensor h = x;
    for (int layer = 0; layer < 2; ++layer) {
      const checkpoint::Segment outer("a");
      const checkpoint::Segment inner("b", {.spare_last = false});
      h = dropout(tanh(matmul(h, w)), 0.25) + h;
    }
    const Tensor loss = mean(square(h));
    loss.backward();
    hash = mix(digest(loss), digest(w.grad()));
  }
  generator() = before;
  return hash;
}

/// Runs in one mode; says what was left behind and what must not be thrown.
class Runner {
 public:
  explicit Runner(const Program& program) : program_(program) {}

  Outcome operator()(const Mode& mode, Verdict& verdict) {
    static const std::uint64_t right = small_step();
    const Books before;
    reset_tape_counters();
    Outcome outcome = run(program_, mode);
    ++verdict.runs;
    verdict.played += tape_counters().backward_nodes;
    verdict.replayed += tape_counters().replayed_nodes;
    for (const Observation& o : outcome.log) verdict.errors += o.what == What::error ? 1 : 0;
    const Books after;
    const char* which = mode.segments ? "with segments" : "without segments";
    if (verdict.finding) return outcome;
    if (!outcome.foreign.empty())
      verdict.finding = {"foreign exception", fmt::format("{}: {}", which, outcome.foreign)};
    else if (!(before == after))
      verdict.finding = {"left behind", fmt::format("{}: {}", which, difference(before, after))};
    else if (small_step() != right)
      verdict.finding = {"step afterwards", fmt::format("{}: another step has other bits afterwards", which)};
    return outcome;
  }

 private:
  const Program& program_;
};

std::string describe_what(const Observation& o) {
  if (o.what == What::error) return name_of(static_cast<Thrown>(o.value));
  return fmt::format("{} {} {:016x}", name_of(o.what), o.part, o.value);
}

std::string describe(const Observation& o) {
  return (o.at == ~0u ? std::string("at the end: ") : fmt::format("instruction {}: ", o.at)) +
         describe_what(o);
}

bool refuses_changed(const Log& log, std::uint32_t at) {
  return std::any_of(log.begin(), log.end(),
                     [&](const Observation& o) { return o.at == at && o.what == What::error && o.stale; });
}

bool found_nan(const Log& log, std::uint32_t at) {
  return std::any_of(log.begin(), log.end(), [&](const Observation& o) {
    return o.at == at && o.what == What::error && static_cast<Thrown>(o.value) == Thrown::anomaly;
  });
}

std::string text_of(const Outcome& outcome, std::uint32_t at) {
  const auto found = outcome.texts.find(at);
  return found == outcome.texts.end() ? std::string() : found->second;
}

/// The first difference that counts, if there is one.
std::optional<Finding> compare(const Program& program, const Outcome& right, const Outcome& got,
                               const Mode& mode, bool& stale) {
  const std::size_t n = std::max(right.log.size(), got.log.size());
  for (std::size_t i = 0; i < n; ++i) {
    const Observation* r = i < right.log.size() ? &right.log[i] : nullptr;
    const Observation* g = i < got.log.size() ? &got.log[i] : nullptr;
    // From an instruction on that refuses what was changed in place no more can be compared: a replay may
    // need it sooner or elsewhere. Or it gives the old value again, where the program without segments
    // refuses to read memory that was changed through an alias.
    const std::uint32_t at = r != nullptr ? r->at : g->at;
    if ((right.changed || got.changed) && (refuses_changed(right.log, at) || refuses_changed(got.log, at))) {
      stale |= text_of(right, at) != text_of(got, at);
      return {};
    }
    // The anomaly mode looks at replays, too: it may find a NaN sooner, or one that the forward made before
    // the mode was on.
    if (found_nan(got.log, at) &&
        (found_nan(right.log, at) || text_of(got, at).find("of its replay") != std::string::npos))
      return {};
    if (r != nullptr && g != nullptr && *r == *g) continue;
    if (g != nullptr && g->what == What::error && static_cast<Thrown>(g->value) == Thrown::memory &&
        mode.faults != Faults::none)
      return {};
    if (r == nullptr) return Finding{"more", "only with segments: " + describe(*g)};
    if (g == nullptr && got.out_of_memory) return {};
    if (g == nullptr) return Finding{"less", "only without: " + describe(*r)};
    const bool errors = r->what == What::error || g->what == What::error;
    std::string kind;
    const auto where = [&](const Observation& o) {
      std::string name = "at the end";
      for_each(program.code, [&](const Instruction& instruction) {
        if (instruction.at == o.at) name = name_of(instruction.kind);
      });
      return " (" + name + ")";
    };
    if (errors) {
      kind = r->what != What::error   ? "throws only with segments"
             : g->what != What::error ? "throws only without segments"
                                      : "throws something else";
    } else {
      kind = r->what == What::gradient || r->what == What::last_gradient ? "wrong gradient"
             : r->what == What::hooks                                    ? "wrong hook calls"
                                                                         : "wrong value";
    }
    kind += where(g->what == What::error ? *g : *r);
    const auto said = [](const Outcome& outcome) {
      std::string text;
      for (const auto& [number, words] : outcome.texts) text += fmt::format("\n      {}: {}", number, words);
      return text.empty() ? "\n      nothing" : text;
    };
    return Finding{kind,
                   fmt::format("without segments, {}; with, {}\n    errors without:{}\n    errors with:{}",
                               describe(*r), describe(*g), said(right), said(got))};
  }
  return {};
}

void check_faults(const Program& program, const Setting& setting, Runner& runner, const Outcome& right,
                  Verdict& verdict) {
  Mode mode{.segments = true, .faults = setting.faults};
  const Outcome counted = runner(mode, verdict);
  Numbers numbers(program.seed + 1);
  const auto strike = [&](bool segments, long at, After after) {
    mode.segments = segments;
    mode.fails_at = at;
    mode.after = after;
    const Outcome got = runner(mode, verdict);
    if (!verdict.finding) verdict.finding = compare(program, right, got, mode, verdict.stale);
    if (verdict.finding)
      verdict.finding->detail +=
          fmt::format(" (allocation {} of {} failed, then the program {}{})", at, counted.allocations,
                      after == After::stop    ? "stopped"
                      : after == After::retry ? "tried again"
                                              : "went on",
                      segments ? "" : ", without segments");
  };
  if (counted.allocations <= 0) return;
  for (int i = 0; i < 4 && !verdict.finding; ++i) {
    const long at = 1 + static_cast<long>(numbers.next() % static_cast<std::uint64_t>(counted.allocations));
    strike(numbers.next() % 4 != 0, at, static_cast<After>(numbers.next() % 3));
  }
}

}  // namespace

Verdict check(const Program& program, const Setting& setting) {
  Verdict verdict;
  Runner runner(program);
  const Outcome right = runner({.segments = false}, verdict);
  if (verdict.finding) return verdict;
  const auto with_segments = [&] {
    const Outcome got = runner({.segments = true}, verdict);
    if (!verdict.finding) verdict.finding = compare(program, right, got, {.segments = true}, verdict.stale);
  };
  with_segments();
  if (!verdict.finding && setting.faults != Faults::none) {
    check_faults(program, setting, runner, right, verdict);
    if (!verdict.finding) with_segments();
    if (verdict.finding) return verdict;
  }
  // A program that differs from itself shows nothing about segments.
  if (verdict.finding) {
    Verdict again;
    bool stale = false;
    const Outcome second = runner({.segments = false}, again);
    if (again.finding || compare(program, right, second, {}, stale))
      verdict.finding = {"unstable", "two runs without segments differ; " + verdict.finding->detail};
  }
  return verdict;
}

}  // namespace reprise::fuzz
