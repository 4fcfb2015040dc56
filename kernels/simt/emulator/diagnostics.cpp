#include "simt/emulator/diagnostics.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>

#include "simt/emulator/block.h"
#include "simt/emulator/fibers.h"

namespace simt {

std::string last_error;

std::string format(const char* pattern, ...) {
  std::va_list arguments, again;
  va_start(arguments, pattern);
  va_copy(again, arguments);
  const int length = std::vsnprintf(nullptr, 0, pattern, arguments);
  va_end(arguments);
  std::string text(static_cast<std::size_t>(length < 0 ? 0 : length), '\0');
  std::vsnprintf(text.data(), text.size() + 1, pattern, again);
  va_end(again);
  return text;
}

std::string describe(const Site& site) {
  if (site.line() == 0) return "";
  return format("%s:%u", site.file_name(), site.line());
}

namespace {

std::string describe_state(const Thread& thread) {
  switch (thread.state) {
    case ThreadState::fresh:
      return "not started";
    case ThreadState::done:
      return "exited";
    case ThreadState::at_barrier:
      return format("wait in %s at %s", thread.waits_in, describe(thread.site).c_str());
    case ThreadState::at_rendezvous:
      return format("wait in %s at %s (mask %08x)", thread.waits_in, describe(thread.site).c_str(),
                    thread.mask);
    case ThreadState::ready:
    case ThreadState::running:
      break;
  }
  return "can run";
}

}  // namespace

std::string census() {
  constexpr int kMaxLines = 12;
  std::string text, group;
  std::uint32_t start = 0;
  int lines = 0;
  for (std::uint32_t i = 0; i <= block.size; i++) {
    std::string state = i < block.size ? describe_state(block.threads[i]) : std::string();
    if (i > 0 && state != group) {
      if (lines++ < kMaxLines) text += format("\n    threads %u..%u: %s", start, i - 1, group.c_str());
      start = i;
    }
    group = std::move(state);
  }
  if (lines > kMaxLines) text += format("\n    and %d more groups", lines - kMaxLines);
  return text;
}

void report_fault(const char* kind, const std::string& where, const std::string& text) {
  std::string fault = format("SIMT fault [%s]", kind);
  if (launch_now != nullptr) {
    const uint3 b = grid.block_index;
    fault += format(" in kernel %s, block (%u,%u,%u)", launch_now->name, b.x, b.y, b.z);
  }
  if (current != nullptr) {
    const uint3 t = current->index;
    fault += format(", thread (%u,%u,%u)", t.x, t.y, t.z);
  }
  if (!where.empty()) {
    fault += ", at " + where;
  } else if (current != nullptr) {
    const std::string last = describe(current->site);
    fault += last.empty() ? ", before its first synchronisation" : ", last synchronised at " + last;
  }
  fault += ": " + text;
  if (config.print_faults || config.abort_on_error) std::fprintf(stderr, "%s\n", fault.c_str());
  if (!last_error.empty()) last_error += '\n';
  last_error += fault;
}

void launch_has_failed() {
  if (config.abort_on_error) std::abort();
  kernel_failed = true;
}

void fail(const char* kind, const std::string& where, const std::string& text) {
  report_fault(kind, where, text);
  launch_has_failed();
  current = nullptr;
  switch_to(&main_fiber);
  __builtin_unreachable();
}

void fail(const char* kind, const Site& site, const std::string& text) { fail(kind, describe(site), text); }

void report_host_fault(const char* kind, const std::string& text) {
  last_error.clear();
  report_fault(kind, "", text);
  if (config.abort_on_error) std::abort();
}

void fail_absent_lane(const Rendezvous& r, int source) {
  fail("absent-lane", r.site,
       format("lane %u reads lane %d in %s, which does not take part (mask %08x, present %08x)",
              current->lane(), source, r.what, r.mask, r.arrived));
}

void fail_width(const char* what, int width, Site site) {
  fail("warp-operation", site, format("%s of width %d: it must be a power of two up to 32", what, width));
}

void fail_misaligned(const char* what, const void* address, std::size_t alignment, Site site) {
  fail("misaligned", site, format("%s at %p, which is not a multiple of %zu", what, address, alignment));
}

}  // namespace simt
