#include "cuda/architectures.h"

#include <algorithm>
#include <charconv>
#include <vector>

namespace reprise::kernels::cuda {
namespace {

/// One entry of the list.
struct Architecture {
  std::string_view name;  // without "-real" and "-virtual": "80", "90a", "native"
  int version = 0;        // 80; 0 where the name is not a number
  char feature = 0;       // 'a': this version only; 'f': later minor versions too, also with PTX
  bool real = true, ptx = true;

  int major() const { return version / 10; }
};

bool cut_suffix(std::string_view& text, std::string_view suffix) {
  if (!text.ends_with(suffix)) return false;
  text.remove_suffix(suffix.size());
  return true;
}

Architecture parse(std::string_view entry) {
  Architecture result;
  result.ptx = !cut_suffix(entry, "-real");
  result.real = !cut_suffix(entry, "-virtual");
  result.name = entry;
  const char* const end = entry.data() + entry.size();
  const auto [rest, error] = std::from_chars(entry.data(), end, result.version);
  if (rest != end) result.feature = *rest;
  return result;
}

std::vector<Architecture> split(std::string_view list) {
  std::vector<Architecture> result;
  while (!list.empty()) {
    const std::size_t length = std::min(list.find_first_of(";, "), list.size());
    if (length > 0) result.push_back(parse(list.substr(0, length)));
    list.remove_prefix(std::min(length + 1, list.size()));
  }
  return result;
}

bool runs_on(const Architecture& built, Capability device) {
  const int version = device.major * 10 + device.minor;
  if (built.version == 0) return true;
  if (built.feature == 'a') return built.version == version;
  const bool same_major = built.major() == device.major && built.version <= version;
  if (built.feature == 'f') return same_major;
  return (built.real && same_major) || (built.ptx && built.version <= version);
}

}  // namespace

bool runs_on(std::string_view architectures, Capability device) {
  for (const Architecture& built : split(architectures)) {
    if (runs_on(built, device)) return true;
  }
  return false;
}

std::string describe(std::string_view architectures) {
  if (architectures == kEmulated) return "emulated on the CPU";
  std::string binary, ptx;
  const auto append = [](std::string& list, const std::string& part) {
    list += (list.empty() ? "" : ", ") + part;
  };
  for (const Architecture& built : split(architectures)) {
    const std::string name(built.name);
    if (built.version == 0) {
      append(binary, name);
      continue;
    }
    const std::string major = std::to_string(built.major());
    if (built.real) append(binary, "sm_" + name);
    if (built.ptx) append(ptx, "PTX " + major + "." + name.substr(major.size()));
  }
  if (!ptx.empty()) append(binary, ptx);
  return binary;
}

}  // namespace reprise::kernels::cuda
