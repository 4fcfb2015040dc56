#include "simt/emulator/shared_memory.h"

#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "simt/emulator/asan.h"
#include "simt/emulator/block.h"
#include "simt/emulator/diagnostics.h"

namespace simt {

SharedArena shared_arena;

namespace {

// guard page | static variables, red zones between them | guard page | dynamic memory, flush with the end |
// guard page
constexpr std::size_t kPage = 4096;
constexpr std::size_t kStaticLimit = 48 * 1024;  // a device takes no more static shared memory
constexpr std::size_t kTotalLimit = 227 * 1024;
constexpr std::size_t kStaticBytes = 128 * 1024;  // with red zones
constexpr std::size_t kDynamicBytes = 228 * 1024;
constexpr std::size_t kDynamicAlignment = 128;
constexpr std::size_t kRedZone = 64;
constexpr unsigned char kPoison = 0xff;  // NaN as float, double, bfloat16 and float16; -1 as an integer
constexpr int kMaxVariables = 128;

struct Variable {
  const void* tag;
  const char* name;
  char* address;
  std::size_t bytes;
  bool in_this_block;
};
Variable variables[kMaxVariables];
int variable_count = 0;
std::size_t static_used = 0, static_sum = 0;
char* static_base = nullptr;
char* dynamic_base = nullptr;  // of this launch
char* dynamic_end = nullptr;   // of the arena
std::size_t dynamic_bytes = 0;

void map_arena() {
  shared_arena.bytes = kStaticBytes + kDynamicBytes + 3 * kPage;
  void* memory =
      mmap(nullptr, shared_arena.bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  auto* base = static_cast<char*>(memory);
  static_base = base + kPage;
  dynamic_end = base + shared_arena.bytes - kPage;
  if (memory == MAP_FAILED || mprotect(static_base, kStaticBytes, PROT_READ | PROT_WRITE) != 0 ||
      mprotect(dynamic_end - kDynamicBytes, kDynamicBytes, PROT_READ | PROT_WRITE) != 0) {
    std::perror("SIMT: no memory for the shared memory of a block");
    std::abort();
  }
  shared_arena.base = base;
}

/// What a red zone holds: NaN in every format, as poison is, yet different from it.
unsigned char red_zone_byte(const char* address) {
  return (reinterpret_cast<std::uintptr_t>(address) & 1) != 0 ? 0x7f : 0xff;
}

void fill_red_zone(char* address, const char* end) {
  for (; address < end; address++) *address = static_cast<char>(red_zone_byte(address));
}

/// Nothing was written here in this block.
void poison(char* address, std::size_t bytes) {
  std::memset(address, kPoison, bytes);
  if (race_hooks.set_written != nullptr) race_hooks.set_written(address, bytes, false);
}

std::size_t round_up(std::size_t bytes, std::size_t to) { return (bytes + to - 1) & ~(to - 1); }

Variable& make_variable(const void* tag, std::size_t bytes, std::size_t alignment, const char* name) {
  static_sum += bytes;
  if (static_sum > kStaticLimit) {
    fail("shared-memory", "",
         format("%zu bytes of static shared memory with '%s'; a device takes at most %zu", static_sum, name,
                kStaticLimit));
  }
  if (static_sum + dynamic_bytes > kTotalLimit) {
    fail("shared-memory", "",
         format("%zu bytes of static and %zu of dynamic shared memory; a device has %zu for both", static_sum,
                dynamic_bytes, kTotalLimit));
  }
  const std::size_t offset = round_up(static_used, alignment < 16 ? 16 : alignment);
  const std::size_t end = round_up(offset + bytes + kRedZone, kRedZone);
  if (variable_count == kMaxVariables || end > kStaticBytes)
    fail("shared-memory", "", "too many shared variables");
  char* address = static_base + offset;
  if (!kAsan) fill_red_zone(address + bytes, static_base + end);  // ASan has a red zone of its own there
  static_used = end;
  asan_unpoison(address, bytes);
  variables[variable_count] = {tag, name, address, bytes, false};
  return variables[variable_count++];
}

/// Where the red zone after `end` was written, or null.
const char* first_change(const char* end, const char* limit) {
  for (const char* p = end; p < limit; p++) {
    if (static_cast<unsigned char>(*p) != red_zone_byte(p)) return p;
  }
  return nullptr;
}

}  // namespace

void* shared_variable(const void* tag, std::size_t bytes, std::size_t alignment, const char* name) {
  Variable* variable = nullptr;
  for (int i = 0; i < variable_count && variable == nullptr; i++) {
    if (variables[i].tag == tag) variable = &variables[i];
  }
  if (variable == nullptr) variable = &make_variable(tag, bytes, alignment, name);
  if (!variable->in_this_block) {
    variable->in_this_block = true;
    poison(variable->address, variable->bytes);
  }
  return variable->address;
}

unsigned char* dynamic_shared() { return reinterpret_cast<unsigned char*>(dynamic_base); }

void shared_start_launch(std::size_t bytes) {
  if (shared_arena.base == nullptr) map_arena();
  variable_count = 0;
  static_used = kRedZone;
  static_sum = 0;
  dynamic_bytes = bytes;
  dynamic_base = dynamic_end - round_up(bytes, kDynamicAlignment);
  asan_unpoison(static_base, kStaticBytes);
  asan_unpoison(dynamic_end - kDynamicBytes, kDynamicBytes);
  fill_red_zone(static_base, static_base + kRedZone);
  fill_red_zone(dynamic_base - kRedZone, dynamic_base);
  fill_red_zone(dynamic_base + bytes, dynamic_end);
  asan_poison(static_base, kStaticBytes);
  asan_poison(dynamic_end - kDynamicBytes, kDynamicBytes);
  asan_unpoison(dynamic_base, bytes);
}

void shared_start_block() {
  for (int i = 0; i < variable_count; i++) variables[i].in_this_block = false;
  poison(dynamic_base, dynamic_bytes);
}

void shared_end_block() {
  if (kAsan) return;  // ASan has caught it, and the red zones may not be read
  for (int i = 0; i < variable_count; i++) {
    const Variable& v = variables[i];
    const char* end = v.address + v.bytes;
    if (const char* changed = first_change(end, end + kRedZone)) {
      report_fault(
          "shared-memory", "",
          format("a thread of the block wrote %zu bytes past the end of shared variable '%s' of %zu bytes",
                 static_cast<std::size_t>(changed - end), v.name, v.bytes));
      launch_has_failed();
      return;
    }
  }
  const bool below = first_change(dynamic_base - kRedZone, dynamic_base) != nullptr;
  if (below || first_change(dynamic_base + dynamic_bytes, dynamic_end) != nullptr) {
    report_fault(
        "shared-memory", "",
        format(
            "a thread of the block wrote %s the %zu bytes of dynamic shared memory that the launch asked for",
            below ? "before" : "past the end of", dynamic_bytes));
    launch_has_failed();
  }
}

void shared_end_launch() {
  asan_unpoison(static_base, kStaticBytes);
  asan_unpoison(dynamic_end - kDynamicBytes, kDynamicBytes);
}

bool in_shared_memory(const void* address, std::size_t bytes) {
  const auto* p = static_cast<const char*>(address);
  if (p >= dynamic_base && p + bytes <= dynamic_base + dynamic_bytes) return true;
  for (int i = 0; i < variable_count; i++) {
    if (p >= variables[i].address && p + bytes <= variables[i].address + variables[i].bytes) return true;
  }
  return false;
}

std::string describe_shared_address(const void* address) {
  const auto* p = static_cast<const char*>(address);
  if (p < shared_arena.base || p >= shared_arena.base + shared_arena.bytes) return "";
  if (p >= dynamic_end) {
    return format(
        "%td bytes past the end of the %zu bytes of dynamic shared memory that the launch asked for",
        p - (dynamic_base + dynamic_bytes), dynamic_bytes);
  }
  return "shared memory that belongs to no variable";
}

}  // namespace simt
