// Text for messages.
#include <execinfo.h>

#include <cstdlib>
#include <string_view>

#include "simt/runtime/memory.h"

namespace simt::runtime {

int take_backtrace(std::array<void*, 16>& frames) {
  return backtrace(frames.data(), static_cast<int>(frames.size()));
}

std::string describe_backtrace(const std::array<void*, 16>& frames, int count) {
  char** symbols = backtrace_symbols(frames.data(), count);
  if (symbols == nullptr) return "unknown";
  std::string text;
  // The first frames are this runtime's own.
  for (int i = 3; i < count; ++i) {
    std::string_view symbol = symbols[i];
    symbol.remove_prefix(std::min(symbol.size(), symbol.rfind('/') + 1));
    text.append(text.empty() ? "" : " < ").append(symbol.substr(0, symbol.find(" [")));
  }
  std::free(symbols);
  return text;
}

std::string with_commas(std::size_t number) {
  std::string text = std::to_string(number);
  for (std::size_t at = text.size(); at > 3; at -= 3) text.insert(at - 3, 1, ',');
  return text;
}

}  // namespace simt::runtime
