// The entry of libFuzzer, whose coverage decides which bytes come next. The first byte is the setting.
#include <cstdio>
#include <cstdlib>

#include "check.h"
#include "generate.h"
#include "listing.h"
#include "reprise/kernels/threads.h"

extern "C" int LLVMFuzzerInitialize(int* /*argc*/, char*** /*argv*/) {
  reprise::kernels::set_num_threads(1);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace reprise::fuzz;
  if (size < 2) return 0;
  const auto all = settings();
  const Setting& setting = all[data[0] % all.size()];
  const Program program = generate(std::span(data + 1, size - 1), setting);
  const Verdict verdict = check(program, setting);
  if (!verdict.finding) return 0;
  std::fprintf(stderr, "%s: %s\n%s\n%s\n%s\n", setting.name.data(), verdict.finding->kind.c_str(),
               verdict.finding->detail.c_str(), to_text(program).c_str(), statements(program).c_str());
  std::abort();
}
