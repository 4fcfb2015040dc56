// Handles and descriptors of the libraries.
#include "simt/runtime/objects.h"

#include <cstring>

#include "simt/seam.h"

namespace simt::runtime {
namespace {

// Never destroyed: programs release memory and handles while they exit.
std::map<const void*, const char*>& objects = *new std::map<const void*, const char*>;

bool is_a(const void* object, const char* kind) {
  const auto found = objects.find(object);
  return found != objects.end() && std::strcmp(found->second, kind) == 0;
}

}  // namespace

void add_object(const void* object, const char* kind) { objects[object] = kind; }

bool object_exists(const void* object, const char* kind) {
  if (is_a(object, kind)) return true;
  report_host_fault("invalid-handle", std::string(kind) + " that was destroyed or never created");
  return false;
}

bool remove_object(const void* object, const char* kind) {
  if (!object_exists(object, kind)) return false;
  objects.erase(object);
  return true;
}

std::size_t object_count() { return objects.size(); }

std::string list_objects() {
  std::string text;
  for (const auto& [object, kind] : objects) text += std::string(kind) + '\n';
  return text;
}

}  // namespace simt::runtime
