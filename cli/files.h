// Files that the program writes.
#pragma once

#include <filesystem>
#include <string_view>

namespace reprise::cli {

/// Replaces a file as a whole: readers see the old text or the new one, never a part. A device or a pipe is
/// written directly. Throws Error when it cannot be written.
void write_file_atomically(const std::filesystem::path& path, std::string_view text);

}  // namespace reprise::cli
