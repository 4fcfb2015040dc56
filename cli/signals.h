// Signals: a first one asks the program to stop at its next safe point, a second ends it at once; no file
// that is only half written stays behind either way.
#pragma once

#include <string>

namespace reprise::cli {

/// Listens for SIGINT, SIGTERM and SIGHUP, but not for those that the program was started to ignore (nohup).
/// A closed pipe and the limit on file sizes become errors of the write that meets them.
void listen_for_signals();

/// True once the program has been asked to stop.
bool interrupted();

/// Exit status of an interrupted program: 128 and the signal.
int interrupted_status();

/// Thrown where work stops because the program has been asked to.
struct Interrupted {};

/// Throws Interrupted once the program has been asked to stop.
void stop_if_interrupted();

/// A file that must not outlive the scope, by whatever way that is left, signals included. One at a time.
class ShortLivedFile {
 public:
  /// The file need not be there yet.
  explicit ShortLivedFile(std::string path);
  /// Removes it.
  ~ShortLivedFile();
  ShortLivedFile(const ShortLivedFile&) = delete;
  ShortLivedFile& operator=(const ShortLivedFile&) = delete;

  const std::string& path() const { return path_; }
  /// It has become a file that stays.
  void keep();

 private:
  std::string path_;
};

}  // namespace reprise::cli
