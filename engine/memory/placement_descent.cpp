#include "memory/placement_descent.h"

#include <algorithm>
#include <limits>
#include <map>
#include <tuple>
#include <utility>

namespace reprise::packing {

namespace {

constexpr std::int64_t kBlame = 1 << 20;  // shared by the strips that end a branch together

std::size_t at(int index) { return static_cast<std::size_t>(index); }

}  // namespace

Descent::Descent(const Puzzle& puzzle, Effort& effort) : puzzle_(puzzle), effort_(effort) {
  const std::size_t strips = puzzle.strips.size();
  offsets_.resize(strips);
  twins_.resize(strips);
  placed_.resize(strips);
  blame_.resize(strips);
  heights_.resize(at(puzzle.columns));
  reach_.resize(at(puzzle.columns));
  group_of_.resize(at(puzzle.columns));
  std::map<std::tuple<int, int, std::int64_t>, int> kinds;
  for (const Strip& strip : puzzle.strips) {
    const auto next = static_cast<int>(kinds.size());
    kinds_.push_back(kinds.try_emplace({strip.first, strip.last, strip.size}, next).first->second);
  }
}

Verdict Descent::fit_below(std::int64_t height, const std::vector<int>& ranks, std::int64_t most) {
  height_ = height;
  left_ = most;
  ranks_ = ranks;
  find_twins();
  std::ranges::fill(placed_, char{0});
  stack_.clear();
  groups_.clear();
  for (int i = 0; i < static_cast<int>(puzzle_.strips.size()); ++i) stack_.push_back({0, i, kNone});
  return solve({0, stack_.size(), 0, puzzle_.columns}, {0, kNone, kNone});
}

/// Strips of one kind are placed in the order of their ranks.
void Descent::find_twins() {
  std::vector<int> order(ranks_.size());
  for (std::size_t i = 0; i < ranks_.size(); ++i) order[at(ranks_[i])] = static_cast<int>(i);
  std::vector<int> last(ranks_.size(), kNone);
  for (const int i : order) {
    int& before = last[at(kinds_[at(i)])];
    twins_[at(i)] = before;
    before = i;
  }
}

/// Places every strip of the group no lower than `before`, which was placed last.
Verdict Descent::solve(const Group& group, const Waiting& before) {
  const auto size = static_cast<std::int64_t>(group.end - group.begin);
  left_ -= size;
  if (!effort_.spend(size) || left_ < 0) return Verdict::gave_up;
  const std::int64_t highest = highest_next(group);
  const std::size_t begin = stack_.size();
  push_candidates(group, before, highest);
  const std::size_t end = stack_.size();
  Verdict verdict = Verdict::impossible;
  for (std::size_t i = begin; i < end && verdict == Verdict::impossible; ++i) {
    bool hopeless = false;
    verdict = place(group, Waiting(stack_[i]), hopeless);
    if (hopeless) break;
  }
  stack_.resize(begin);
  return verdict;
}

/// How high the lowest strip that is still to come may lie; negative where the group fits no more: a column
/// must hold all of its strips whose lowest places are at or above some height between that and the top.
std::int64_t Descent::highest_next(const Group& group) {
  std::fill(heights_.begin() + group.first, heights_.begin() + group.last, 0);
  std::int64_t highest_column = 0;
  for (std::size_t i = group.end; i-- > group.begin;) {
    const Waiting& waiting = stack_[i];
    const Strip& own = strip(waiting.strip);
    std::int64_t highest = 0;
    for (int column = own.first; column < own.last; ++column) {
      highest = std::max(highest, heights_[at(column)] += own.size);
    }
    if (waiting.low + highest > height_) {
      const auto column = std::find(heights_.begin() + own.first, heights_.begin() + own.last, highest);
      put_blame(i, group.end, static_cast<int>(column - heights_.begin()));
      return -1;
    }
    highest_column = std::max(highest_column, highest);
  }
  return height_ - highest_column;
}

/// Blames the strips in a part of the stack that are alive in the column.
void Descent::put_blame(std::size_t from, std::size_t end, int column) {
  const auto is_alive = [&](std::size_t i) {
    const Strip& own = strip(stack_[i].strip);
    return own.first <= column && column < own.last;
  };
  std::int64_t alive = 0;
  for (std::size_t i = from; i < end; ++i) alive += is_alive(i);
  for (std::size_t i = from; i < end; ++i) {
    if (is_alive(i)) blame_[at(stack_[i].strip)] += kBlame / alive;
  }
}

/// Pushes the strips of the group that may come next, the lowest first: not above a place where another would
/// still fit, as that one could be pushed down.
void Descent::push_candidates(const Group& group, const Waiting& before, std::int64_t highest) {
  std::int64_t lowest_end = std::numeric_limits<std::int64_t>::max();
  for (std::size_t i = group.begin; i < group.end; ++i) {
    lowest_end = std::min(lowest_end, stack_[i].low + strip(stack_[i].strip).size);
  }
  const std::size_t begin = stack_.size();
  for (std::size_t i = group.begin; i < group.end; ++i) {
    const Waiting candidate = stack_[i];
    if (candidate.low >= lowest_end || candidate.low > highest) break;
    if (!is_mirrored(candidate, before)) stack_.push_back(candidate);
  }
  std::sort(stack_.begin() + static_cast<std::ptrdiff_t>(begin), stack_.end(),
            [&](const Waiting& a, const Waiting& b) {
              return a.low != b.low ? a.low < b.low : rank(a.strip) < rank(b.strip);
            });
}

/// True when what would follow is, up to an exchange of strips, what another branch finds.
bool Descent::is_mirrored(const Waiting& candidate, const Waiting& before) const {
  const int own = candidate.strip;
  if (before.strip != kNone && before.low == candidate.low && rank(own) < rank(before.strip)) return true;
  const int twin = twins_[at(own)];
  if (twin != kNone && !placed_[at(twin)]) return true;
  if (candidate.under == kNone || rank(candidate.under) < rank(own)) return false;
  const Strip& under = strip(candidate.under);
  return under.first == strip(own).first && under.last == strip(own).last &&
         offsets_[at(candidate.under)] + under.size == candidate.low;
}

/// Places the candidate, then the rest of the group. It is hopeless when the rest would not fit either if
/// something else came next.
Verdict Descent::place(const Group& group, const Waiting& candidate, bool& hopeless) {
  const Strip& own = strip(candidate.strip);
  const bool is_lowest = candidate.low == stack_[group.begin].low;
  const std::size_t stack_size = stack_.size();
  const std::size_t groups_size = groups_.size();
  offsets_[at(candidate.strip)] = candidate.low;
  placed_[at(candidate.strip)] = 1;
  lift(group, candidate);
  push_groups(group);
  Verdict verdict = Verdict::fits;
  for (std::size_t i = groups_size; i < groups_.size() && verdict == Verdict::fits; ++i) {
    const Group part = groups_[i];
    const bool touches = part.first < own.last && own.first < part.last;
    verdict = solve(part, {candidate.low, touches ? candidate.strip : kNone, kNone});
    hopeless = verdict == Verdict::impossible && is_lowest && !touches;
  }
  placed_[at(candidate.strip)] = 0;
  stack_.resize(stack_size);
  groups_.resize(groups_size);
  return verdict;
}

/// The rest of the group, by lowest places, once a strip of it is placed: above it, and nothing lower than
/// it.
void Descent::lift(const Group& group, const Waiting& placed) {
  const Strip& own = strip(placed.strip);
  const std::int64_t top = placed.low + own.size;
  lifted_.clear();
  hit_.clear();
  std::size_t i = group.begin;
  for (; i < group.end && stack_[i].low < top; ++i) {
    const Waiting& waiting = stack_[i];
    if (waiting.strip == placed.strip) continue;
    if (strip(waiting.strip).meets(own)) {
      hit_.push_back({top, waiting.strip, placed.strip});
    } else {
      lifted_.push_back({std::max(waiting.low, placed.low), waiting.strip, waiting.under});
    }
  }
  lifted_.insert(lifted_.end(), hit_.begin(), hit_.end());
  for (; i < group.end; ++i) lifted_.push_back(stack_[i]);
}

/// Pushes the lifted strips, cut into groups where no strip spans two columns; the smallest group first.
void Descent::push_groups(const Group& group) {
  std::fill(reach_.begin() + group.first, reach_.begin() + group.last, 0);
  for (const Waiting& waiting : lifted_) {
    const Strip& own = strip(waiting.strip);
    reach_[at(own.first)] = std::max(reach_[at(own.first)], own.last);
  }
  const std::size_t begin = groups_.size();
  int end = group.first;
  for (int column = group.first; column < group.last; ++column) {
    if (reach_[at(column)] == 0) continue;
    if (groups_.size() == begin || column >= end) groups_.push_back({0, 0, column, column});
    end = std::max(end, reach_[at(column)]);
    groups_.back().last = end;
    group_of_[at(column)] = groups_.size() - 1;
  }
  const auto group_of = [&](const Waiting& waiting) -> Group& {
    return groups_[group_of_[at(strip(waiting.strip).first)]];
  };
  for (const Waiting& waiting : lifted_) ++group_of(waiting).end;
  std::size_t place = stack_.size();
  for (std::size_t i = begin; i < groups_.size(); ++i) {
    groups_[i].begin = place;
    place += std::exchange(groups_[i].end, place);
  }
  stack_.resize(place);
  for (const Waiting& waiting : lifted_) stack_[group_of(waiting).end++] = waiting;
  std::sort(groups_.begin() + static_cast<std::ptrdiff_t>(begin), groups_.end(),
            [](const Group& a, const Group& b) { return a.end - a.begin < b.end - b.begin; });
}

}  // namespace reprise::packing
