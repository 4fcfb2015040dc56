// Makes a program, decision by decision.
#pragma once

#include <string_view>

#include "scene.h"
#include "settings.h"

namespace reprise::fuzz {

/// Every decision is a byte: what comes next, of what, how often.
class Composer {
 public:
  Composer(Bytes& bytes, const Setting& setting) : b_(bytes), scene_(bytes), setting_(setting) {}

  Program compose();

 private:
  void begin();
  void instructions(int most);
  void instruction();
  bool other_instruction();
  bool scope_instruction();
  void operate();
  void operate(std::uint8_t what);
  void play() { play(kNone); }
  void play(Id output);
  void two_losses();
  void two_branches();
  void share_leaves();
  Id compute(std::string_view operation, std::initializer_list<Id> operands, Known known);
  void play_for_gradients(Id output, bool retain);
  Id wanting();
  Id loss();
  bool change_in_place();
  bool hang_hook();
  bool let_go(bool elsewhere);
  void let_go_since(Id first);
  bool touch_gradients();
  void unwind();
  void scope(Instruction scope, int bodies = 1);
  void threads(Kind kind);
  Id any(bool own = false);

  Bytes& b_;
  Scene scene_;
  const Setting& setting_;
  int depth_ = 0;    // of scopes on this thread
  int nesting_ = 0;  // of all scopes
  int tapes_ = 0;
  bool left_ = false;           // the rest of the body is never reached
  bool may_accumulate_ = true;  // of two threads at once, the first one only
};

}  // namespace reprise::fuzz
