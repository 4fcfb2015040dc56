#include "simt/race/modules.h"

#include <link.h>

#include <cstddef>
#include <vector>

namespace simt::race {

namespace {

struct Segment {
  std::uintptr_t start, end;
  bool executable;
};
auto& segments = *new std::vector<Segment>;
Segment last_hit{0, 0, false};

int add_module(dl_phdr_info* info, std::size_t, void*) {
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const auto& header = info->dlpi_phdr[i];
    if (header.p_type != PT_LOAD) continue;
    const std::uintptr_t start = info->dlpi_addr + header.p_vaddr;
    segments.push_back({start, start + header.p_memsz, (header.p_flags & PF_X) != 0});
  }
  return 0;
}

bool find(std::uintptr_t address) {
  for (const Segment& s : segments) {
    if (address < s.start || address >= s.end) continue;
    last_hit = s;
    return true;
  }
  return false;
}

void read_modules() {
  segments.clear();
  dl_iterate_phdr(add_module, nullptr);
}

}  // namespace

bool in_module(std::uintptr_t address) {
  if (address >= last_hit.start && address < last_hit.end) return true;
  if (find(address)) return true;
  read_modules();  // a library may have been loaded since
  return find(address);
}

const void* expand_pc(std::uint32_t low) {
  if (segments.empty()) read_modules();
  for (const Segment& s : segments) {
    if (!s.executable) continue;
    constexpr std::uintptr_t kUpper = ~std::uintptr_t{0xffffffffu};
    for (const std::uintptr_t upper : {s.start & kUpper, s.end & kUpper}) {
      const std::uintptr_t address = upper | low;
      if (address >= s.start && address < s.end) return reinterpret_cast<const void*>(address);
    }
  }
  return nullptr;
}

}  // namespace simt::race
