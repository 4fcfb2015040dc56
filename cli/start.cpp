// The first thing that the program does: compiled for the least processor, as what it checks is whether the
// rest runs.
#include <unistd.h>

#include <cstring>

#include "reprise/kernels/processor.h"

namespace {

constexpr int kFailed = 2;

/// After the library's own constructor (101), which has looked, and before every object of static storage.
[[gnu::constructor(102)]] void refuse_smaller_processors() noexcept {
  const char* const missing = reprise::kernels::missing_instructions();
  if (*missing == '\0') return;
  const char* const parts[] = {"reprise: ", missing, "\n"};
  for (const char* const part : parts) {
    if (::write(STDERR_FILENO, part, std::strlen(part)) < 0) break;
  }
  ::_exit(kFailed);
}

}  // namespace
