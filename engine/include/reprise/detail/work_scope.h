// What a thread says that it is doing: which operation, in which phase of a step, in which module. Each is
// set by scopes of several kinds, which may close in any order.
#pragma once

#include <cstdint>
#include <string_view>

namespace reprise {
struct Context;
struct Place;
enum class Phase : std::uint8_t;
}  // namespace reprise

namespace reprise::detail {

/// Base of the scopes: changes some of the three until it closes. The innermost open scope that changes a
/// part decides it, as with `ScopedValue`; one list for all three, since every node that runs opens one.
class WorkScope {
 public:
  WorkScope(const WorkScope&) = delete;
  WorkScope& operator=(const WorkScope&) = delete;

 protected:
  enum Part : std::uint8_t { kOperation = 1, kPhase = 2, kPlace = 4, kAll = 7 };

  /// The scope is open from here on; what it changes of the thread is up to the kind that it is.
  WorkScope(Context& thread, Part changes) noexcept;
  ~WorkScope();

  Context& thread_;

 private:
  void hand_on() const noexcept;
  template <class T>
  void hand_on(Part part, T WorkScope::*before, T& now) const noexcept;

  WorkScope* outer_;
  // All three as they were when the scope opened, whatever it changes.
  std::string_view operation_before_;
  const Place* place_before_;
  Phase phase_before_;
  Part changes_;
};

}  // namespace reprise::detail
