// Files that the program writes.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace reprise::cli {

/// Replaces a file as a whole: readers see the old text or the new one, never a part, and a disk that loses
/// its power keeps one of the two. A device, a pipe and the file that the program's own output goes to are
/// written directly. Throws Error when it cannot be written.
void write_file_atomically(const std::filesystem::path& path, std::string_view text);

/// False where a text would be added to what is there: for devices, pipes and the program's own output.
bool replaced_as_a_whole(const std::filesystem::path& path);

/// Throws Error unless a file can be written at `path` as things are now: tries it out with a file of a few
/// bytes in the same folder, which goes again. What is there already stays as it is. Empty paths are fine.
void require_writable(const std::filesystem::path& path);

/// The folders on a path that are not there yet: those that are there and empty at the end of the scope go
/// again.
class EmptyFolders {
 public:
  explicit EmptyFolders(const std::filesystem::path& path);
  ~EmptyFolders();
  EmptyFolders(const EmptyFolders&) = delete;
  EmptyFolders& operator=(const EmptyFolders&) = delete;

 private:
  std::vector<std::filesystem::path> folders_;  // the innermost first
};

/// An option and the file that it names.
using NamedFile = std::pair<std::string, std::filesystem::path>;

/// Throws ValueError when a file that is written is one of the others, or one that is read. Empty paths are
/// fine.
void require_distinct(const std::vector<NamedFile>& written, const std::vector<NamedFile>& read);

}  // namespace reprise::cli
