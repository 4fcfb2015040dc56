#include "take_block.h"

#include "reprise/context.h"
#include "reprise/error.h"

namespace reprise::detail {

MemoryBlock* take_block(Device device, std::size_t bytes, Category category, Origin origin) {
  Context& ctx = context();
  origin.operation = ctx.operation.empty() ? "empty" : ctx.operation;
  origin.phase = ctx.phase;
  origin.place = ctx.place;
  if (ctx.tape->spare != nullptr) ctx.tape->spare->before_allocation(bytes);
  Pool& pool = pool_of(device);
  try {
    return pool.allocate(bytes, category, ctx.tag, origin);
  } catch (const OutOfMemory& error) {
    if (ctx.adviser == nullptr) throw;
    const std::string advice = ctx.adviser->advice(pool, device.kind);
    if (advice.empty()) throw;
    throw OutOfMemory(std::string(error.what()) + "\n  " + advice);
  }
}

}  // namespace reprise::detail
