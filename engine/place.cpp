#include "reprise/place.h"

#include <fmt/format.h>

#include <map>
#include <memory>
#include <mutex>
#include <tuple>
#include <unordered_map>

#include "reprise/context.h"

namespace reprise {
namespace {

struct Places {
  using Key = std::tuple<const Place*, std::string_view, const char*, int>;
  struct Inside {
    std::size_t names = 0;
    const Place* further = nullptr;
  };
  std::mutex mutex;
  std::map<Key, const Place*> known;  // the names are kept by `Place::path`
  std::unordered_map<const Place*, Inside> inside;
};

/// Never destroyed: blocks of tensors in static storage refer to places.
Places& places() {
  static auto& made = *new Places;
  return made;
}

const Place* make_place(const Place* parent, std::string_view name, const char* file, int line) {
  auto place =
      std::make_unique<Place>(Place{.parent = parent, .path = std::string(name), .file = file, .line = line});
  if (parent != nullptr) place->path = fmt::format("{}.{}", parent->path, name);
  place->is_further = name == kFurtherNames;
  return place.release();
}

}  // namespace

const Place* place_in(const Place* parent, std::string_view name, const char* file, int line) {
  if (parent != nullptr && parent->is_further) return parent;
  Places& state = places();
  const std::lock_guard guard(state.mutex);
  const auto found = state.known.find({parent, name, file, line});
  if (found != state.known.end()) return found->second;
  Places::Inside& inside = state.inside[parent];
  if (inside.names == kMostNames || state.known.size() >= kMostPlaces) {
    if (inside.further == nullptr) inside.further = make_place(parent, kFurtherNames, "", 0);
    return inside.further;
  }
  const Place* const place = make_place(parent, name, file, line);
  const std::string_view kept = std::string_view(place->path).substr(place->path.size() - name.size());
  state.known.emplace(Places::Key{parent, kept, file, line}, place);
  ++inside.names;
  return place;
}

std::size_t place_count() {
  Places& state = places();
  const std::lock_guard guard(state.mutex);
  std::size_t further = 0;
  for (const auto& [parent, inside] : state.inside) further += inside.further == nullptr ? 0 : 1;
  return state.known.size() + further;
}

ModuleScope::ModuleScope(std::string_view name, const char* file, int line) : WorkScope(context(), kPlace) {
  thread_.place = place_in(thread_.place, name, file, line);
}

std::string location_of(const Place* place) {
  if (place == nullptr || place->file.empty()) return {};
  const std::string_view file = place->file;
  std::size_t from = file.rfind('/');
  if (from != std::string_view::npos && from > 0) from = file.rfind('/', from - 1);
  return fmt::format("{}:{}", from == std::string_view::npos ? file : file.substr(from + 1), place->line);
}

}  // namespace reprise
