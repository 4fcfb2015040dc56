#include "shrink.h"

#include <algorithm>
#include <functional>

namespace reprise::fuzz {
namespace {

/// Calls f(code, index) at every place in the program, last first, until it returns true.
bool any_place(Code& code, const std::function<bool(Code&, std::size_t)>& f) {
  for (std::size_t i = code.size(); i-- > 0;) {
    if (f(code, i)) return true;
    for (Code& body : code[i].bodies) {
      if (any_place(body, f)) return true;
    }
  }
  return false;
}

class Shrinker {
 public:
  Shrinker(Program program, const std::function<bool(const Program&)>& shows, int most)
      : best_(std::move(program)), shows_(shows), left_(most) {}

  Program run() {
    while (left_ > 0 && (remove_ranges() | remove_ones() | open_scopes() | drop_bodies() | simplify())) {
    }
    return std::move(best_);
  }

 private:
  bool accept(Program candidate) {
    if (left_-- <= 0 || !shows_(candidate)) return false;
    best_ = std::move(candidate);
    return true;
  }

  /// Tries `change` at the places of the best program one after another, each in a fresh copy. `change`
  /// returns false where there is nothing to do.
  bool at_every_place(const std::function<bool(Code&, std::size_t)>& change) {
    bool any = false;
    for (std::size_t place = 0; left_ > 0; ++place) {
      Program candidate = best_;
      std::size_t n = 0;
      bool changed = false;
      const bool exists = any_place(candidate.code, [&](Code& code, std::size_t i) {
        if (n++ != place) return false;
        changed = change(code, i);
        return true;
      });
      if (!exists) break;
      if (changed && accept(std::move(candidate))) {
        any = true;
        if (place > 0) --place;
      }
    }
    return any;
  }

  bool remove_ranges() {
    bool any = false;
    for (std::size_t length = best_.code.size() / 2; length > 1; length /= 2) {
      for (std::size_t at = 0; at + length <= best_.code.size() && left_ > 0;) {
        Program candidate = best_;
        const auto first = candidate.code.begin() + static_cast<std::ptrdiff_t>(at);
        candidate.code.erase(first, first + static_cast<std::ptrdiff_t>(length));
        if (accept(std::move(candidate)))
          any = true;
        else
          at += length;
      }
    }
    return any;
  }

  bool remove_ones() {
    return at_every_place([](Code& code, std::size_t i) {
      code.erase(code.begin() + static_cast<std::ptrdiff_t>(i));
      return true;
    });
  }

  /// What is inside a scope moves out of it.
  bool open_scopes() {
    return at_every_place([](Code& code, std::size_t i) {
      if (code[i].bodies.empty()) return false;
      Code inside;
      for (Code& body : code[i].bodies) std::move(body.begin(), body.end(), std::back_inserter(inside));
      const auto at = code.erase(code.begin() + static_cast<std::ptrdiff_t>(i));
      code.insert(at, std::make_move_iterator(inside.begin()), std::make_move_iterator(inside.end()));
      return true;
    });
  }

  /// A sequence loses a block.
  bool drop_bodies() {
    return at_every_place([](Code& code, std::size_t i) {
      if (code[i].kind != Kind::sequence || code[i].bodies.size() < 2) return false;
      code[i].bodies.pop_back();
      return true;
    });
  }

  bool simplify() {
    bool any = false;
    any |= at_every_place([](Code& code, std::size_t i) {
      if (code[i].layout == 0) return false;
      code[i].layout = 0;
      return true;
    });
    any |= at_every_place([](Code& code, std::size_t i) {
      if (code[i].consumes == 0) return false;
      code[i].consumes = 0;
      return true;
    });
    any |= at_every_place([](Code& code, std::size_t i) {
      if (code[i].escapes == 0) return false;
      code[i].escapes = 0;
      return true;
    });
    any |= at_every_place([](Code& code, std::size_t i) {
      if (code[i].kind != Kind::leaf || !code[i].wants) return false;
      code[i].wants = false;
      return true;
    });
    any |= at_every_place([](Code& code, std::size_t i) {  // retaining, sparing
      const std::size_t k = code[i].kind == Kind::segment ? 1 : 0;
      const bool flag = code[i].kind == Kind::segment || code[i].kind == Kind::backward ||
                        code[i].kind == Kind::gradients || code[i].kind == Kind::in_place;
      if (!flag || code[i].p[k] == 0) return false;
      code[i].p[k] = 0;
      return true;
    });
    return any;
  }

  Program best_;
  const std::function<bool(const Program&)>& shows_;
  int left_;
};

}  // namespace

Program shrink(Program program, const std::function<bool(const Program&)>& shows, int most) {
  return Shrinker(std::move(program), shows, most).run();
}

}  // namespace reprise::fuzz
