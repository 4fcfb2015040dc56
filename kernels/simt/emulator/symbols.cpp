#include "simt/emulator/symbols.h"

#include <cxxabi.h>
#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <unordered_map>
#include <vector>

#include "simt/emulator/diagnostics.h"

namespace simt {

namespace {

/// The file that an address was loaded from, and the address within it.
struct Place {
  std::string file;
  std::uintptr_t offset = 0;
};

Place locate(const void* address) {
  Dl_info info;
  link_map* map = nullptr;
  if (dladdr1(address, &info, reinterpret_cast<void**>(&map), RTLD_DL_LINKMAP) == 0 || map == nullptr)
    return {};
  Place place;
  place.offset = reinterpret_cast<std::uintptr_t>(address) - map->l_addr;
  place.file = map->l_name;
  if (place.file.empty()) {  // the program itself
    char path[PATH_MAX];
    const ssize_t length = readlink("/proc/self/exe", path, sizeof path);
    place.file.assign(path, length > 0 ? static_cast<std::size_t>(length) : 0);
  }
  return place;
}

/// Functions of one ELF file by address; the dynamic table alone would lack static kernels.
using Functions = std::unordered_map<std::uintptr_t, std::string>;

Functions read_functions(const std::string& path) {
  Functions functions;
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat status {};
  if (file < 0 || fstat(file, &status) != 0) return functions;
  const auto bytes = static_cast<std::size_t>(status.st_size);
  void* memory = mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE, file, 0);
  close(file);
  if (memory == MAP_FAILED) return functions;
  const auto* data = static_cast<const char*>(memory);
  const auto* header = reinterpret_cast<const Elf64_Ehdr*>(data);
  const auto* sections = reinterpret_cast<const Elf64_Shdr*>(data + header->e_shoff);
  for (unsigned i = 0; i < header->e_shnum; i++) {
    if (sections[i].sh_type != SHT_SYMTAB) continue;
    const auto* symbols = reinterpret_cast<const Elf64_Sym*>(data + sections[i].sh_offset);
    const char* names = data + sections[sections[i].sh_link].sh_offset;
    for (std::size_t k = 0; k < sections[i].sh_size / sizeof(Elf64_Sym); k++) {
      if (ELF64_ST_TYPE(symbols[k].st_info) == STT_FUNC && symbols[k].st_value != 0) {
        functions.emplace(symbols[k].st_value, names + symbols[k].st_name);
      }
    }
  }
  munmap(memory, bytes);
  return functions;
}

/// "void softmax<float>(float const*)" becomes "softmax<float>".
std::string shorten(const std::string& name) {
  int depth = 0;
  std::size_t end = name.size();
  for (std::size_t i = name.size(); i-- > 0;) {
    if (name[i] == ')') depth++;
    if (name[i] == '(' && --depth == 0) {
      end = i;
      break;
    }
  }
  std::string text = name.substr(0, end);
  if (text.rfind("void ", 0) == 0) text.erase(0, 5);
  return text.empty() ? name : text;
}

std::string find_name(const void* function) {
  static auto& files = *new std::map<std::string, Functions>;
  const Place place = locate(function);
  auto file = files.find(place.file);
  if (file == files.end()) file = files.emplace(place.file, read_functions(place.file)).first;
  const auto found = file->second.find(place.offset);
  if (found == file->second.end()) return format("at %p", function);
  int status = 0;
  char* demangled = abi::__cxa_demangle(found->second.c_str(), nullptr, nullptr, &status);
  std::string name = status == 0 ? shorten(demangled) : found->second;
  std::free(demangled);
  return name;
}

bool is_library_header(const std::string& line) {
  for (const char* part : {"/simt/emulator/", "/usr/", "/cuda/include/", "??"}) {
    if (line.find(part) != std::string::npos) return true;
  }
  return false;
}

std::string find_line(const void* instruction) {
  const Place place = locate(instruction);
  if (place.file.empty()) return "";
  const std::string command = format("addr2line -ie '%s' 0x%zx 2>/dev/null", place.file.c_str(),
                                     static_cast<std::size_t>(place.offset));
  std::FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return "";
  // The innermost inlined function comes first.
  std::string first, chosen;
  char buffer[PATH_MAX + 64];
  while (std::fgets(buffer, sizeof buffer, pipe) != nullptr) {
    std::string line = buffer;
    line.erase(std::min(line.find_first_of("\n "), line.size()));
    if (first.empty()) first = line;
    if (chosen.empty() && !is_library_header(line)) chosen = line;
  }
  pclose(pipe);
  return chosen.empty() ? first : chosen;
}

}  // namespace

const char* kernel_name(const void* function) {
  static auto& names = *new std::unordered_map<const void*, std::string>;
  auto found = names.find(function);
  if (found == names.end()) found = names.emplace(function, find_name(function)).first;
  return found->second.c_str();
}

std::string source_line(const void* instruction) {
  static auto& lines = *new std::unordered_map<const void*, std::string>;
  auto found = lines.find(instruction);
  if (found == lines.end()) found = lines.emplace(instruction, find_line(instruction)).first;
  return found->second;
}

std::string caller_line(const void* return_address) {
  return source_line(static_cast<const char*>(return_address) - 1);
}

}  // namespace simt
