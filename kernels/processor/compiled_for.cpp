// What the build was compiled for. Data only, with the build's own -march: reading it executes nothing of
// this file.
#include "processor/instructions.h"

namespace reprise::kernels::processor {

namespace {

consteval Set compiled_for() {
  Set set = 0;
  int bit = 0;
  for (const Instructions& instructions : kInstructions) set |= Set{instructions.compiled_for} << bit++;
  return set;
}

}  // namespace

constinit const Set kCompiledFor = compiled_for();

}  // namespace reprise::kernels::processor
