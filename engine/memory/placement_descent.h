// One descent of the search: does the puzzle fit below a height?
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "memory/placement_effort.h"
#include "memory/placement_puzzle.h"

namespace reprise::packing {

enum class Verdict { fits, impossible, gave_up };

/// Branch and bound from the bottom up. Every placement can be pushed down until each strip lies on the floor
/// or on another, and built in order of offsets; so the next strip is always put at its lowest place, and
/// nothing is put lower any more.
///
/// A group of strips that have no column in common with the rest is solved on its own. A branch ends where a
/// column cannot hold what still has to go above some height. Strips that ended branches are remembered.
class Descent {
 public:
  Descent(const Puzzle& puzzle, Effort& effort);

  /// Tries strips of low rank first, and gives up after looking at `most` strips.
  Verdict fit_below(std::int64_t height, const std::vector<int>& ranks, std::int64_t most);

  /// What the last descent found if it fits.
  const Offsets& offsets() const { return offsets_; }
  /// How much each strip had to do with the failures so far.
  const std::vector<std::int64_t>& blame() const { return blame_; }

 private:
  /// A strip that is not placed yet.
  struct Waiting {
    std::int64_t low;  // no lower place is left
    int strip;
    int under;  // the strip that it would lie on; kNone: the floor
  };
  /// Waiting strips in a range of the stack, by their lowest places, and the columns that they cover.
  struct Group {
    std::size_t begin = 0;
    std::size_t end = 0;
    int first = 0;
    int last = 0;
  };
  static constexpr int kNone = -1;

  const Strip& strip(int index) const { return puzzle_.strips[static_cast<std::size_t>(index)]; }
  int rank(int index) const { return ranks_[static_cast<std::size_t>(index)]; }

  Verdict solve(const Group& group, const Waiting& before);
  std::int64_t highest_next(const Group& group);
  void put_blame(std::size_t from, std::size_t end, int column);
  void push_candidates(const Group& group, const Waiting& before, std::int64_t highest);
  bool is_mirrored(const Waiting& candidate, const Waiting& before) const;
  Verdict place(const Group& group, const Waiting& candidate, bool& hopeless);
  void lift(const Group& group, const Waiting& placed);
  void push_groups(const Group& group);
  void find_twins();

  const Puzzle& puzzle_;
  Effort& effort_;
  std::int64_t height_ = 0;
  std::int64_t left_ = 0;
  Offsets offsets_;
  std::vector<int> ranks_;
  std::vector<int> kinds_;  // equal for strips that nothing distinguishes
  std::vector<int> twins_;  // the strip of the same kind that must be placed before; kNone: there is none
  std::vector<char> placed_;
  std::vector<std::int64_t> blame_;
  std::vector<std::int64_t> heights_;  // by column
  std::vector<int> reach_;             // by column
  std::vector<std::size_t> group_of_;  // by column
  std::vector<Waiting> stack_;
  std::vector<Group> groups_;
  std::vector<Waiting> lifted_;
  std::vector<Waiting> hit_;
};

}  // namespace reprise::packing
