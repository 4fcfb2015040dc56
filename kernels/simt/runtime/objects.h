// Handles and descriptors of the libraries, so that a use after destroy and a leak are seen.
#pragma once

#include <cstddef>
#include <map>
#include <string>

namespace simt::runtime {

/// Notes that an object exists.
void add_object(const void* object, const char* kind);

/// Forgets it; false when it did not exist.
bool remove_object(const void* object, const char* kind);

/// True for an object of the kind that exists; reports the misuse otherwise.
bool object_exists(const void* object, const char* kind);

/// Creates an object behind an opaque handle; false without a place for the handle.
template <class Object, class Handle>
bool create_object(Handle* handle, const char* kind, const Object& value) {
  if (handle == nullptr) return false;
  auto* object = new Object(value);
  add_object(object, kind);
  *handle = reinterpret_cast<Handle>(object);
  return true;
}

/// Destroys it again; a null handle is nothing to destroy.
template <class Object, class Handle>
bool destroy_object(Handle handle, const char* kind) {
  if (handle == nullptr) return true;
  if (!remove_object(handle, kind)) return false;
  delete reinterpret_cast<Object*>(handle);
  return true;
}

std::size_t object_count();
std::string list_objects();

}  // namespace simt::runtime
