#include "run.h"

#include "../failing_new.h"
#include "executor.h"
#include "user_operations.h"

namespace reprise::fuzz {

Outcome run(const Program& program, const Mode& mode) {
  Shared shared;
  Executor executor(shared, program.ids);
  shared.main = &executor;
  shared.mode = mode;
  executor.log().reserve(512);
  manual_seed(11);
  user::Stamp::runs = 0;

  Pool& pool = current_pool();
  const std::int64_t before = pool.statistics().allocations;
  if (mode.faults == Faults::pool && mode.fails_at > 0) pool.fail_after(mode.fails_at);
  test::fail_new(mode.faults == Faults::new_ ? mode.fails_at : 0);
  const bool finished = executor.body(program.code);
  const std::int64_t new_called = test::new_calls();
  test::fail_new(0);
  if (mode.faults == Faults::pool) pool.fail_after(-1);

  for (std::thread& thread : shared.beside) thread.join();
  Outcome outcome;
  outcome.allocations = mode.faults == Faults::new_ ? new_called : pool.statistics().allocations - before;
  if (finished || !shared.out_of_memory) executor.observe_end();
  outcome.changed = shared.changed;
  outcome.foreign = shared.foreign;
  outcome.out_of_memory = shared.out_of_memory;
  outcome.texts = std::move(shared.texts);
  outcome.log = std::move(executor.log());
  executor.clear();
  return outcome;
}

}  // namespace reprise::fuzz
