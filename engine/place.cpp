#include "reprise/place.h"

#include <fmt/format.h>

#include <map>
#include <mutex>
#include <tuple>

#include "reprise/context.h"

namespace reprise {
namespace {

struct Places {
  using Key = std::tuple<const Place*, std::string_view, const char*, int>;
  std::mutex mutex;
  std::map<Key, const Place*> known;  // the names are kept by `Place::path`
};

/// Never destroyed: blocks of tensors in static storage refer to places.
Places& places() {
  static auto& made = *new Places;
  return made;
}

}  // namespace

const Place* place_in(const Place* parent, std::string_view name, const char* file, int line) {
  Places& state = places();
  const std::lock_guard guard(state.mutex);
  const auto found = state.known.find({parent, name, file, line});
  if (found != state.known.end()) return found->second;
  auto* const place = new Place{.parent = parent, .path = std::string(name), .file = file, .line = line};
  if (parent != nullptr) place->path = fmt::format("{}.{}", parent->path, name);
  const std::string_view kept = std::string_view(place->path).substr(place->path.size() - name.size());
  state.known.emplace(Places::Key{parent, kept, file, line}, place);
  return place;
}

ModuleScope::ModuleScope(std::string_view name, const char* file, int line) : WorkScope(context(), kPlace) {
  Context& thread = context();
  thread.place = place_in(thread.place, name, file, line);
}

std::string location_of(const Place* place) {
  if (place == nullptr || place->file.empty()) return {};
  const std::string_view file = place->file;
  std::size_t from = file.rfind('/');
  if (from != std::string_view::npos && from > 0) from = file.rfind('/', from - 1);
  return fmt::format("{}:{}", from == std::string_view::npos ? file : file.substr(from + 1), place->line);
}

}  // namespace reprise
