#include "cli/report/report.h"

#include <fmt/format.h>
#include <unistd.h>

#include <system_error>

#include "cli/files.h"
#include "cli/report/chrome_trace.h"
#include "cli/report/page.h"
#include "cli/report/snapshot.h"
#include "reprise/error.h"

namespace reprise::cli {

void prepare_report_folder(const std::filesystem::path& folder) {
  std::error_code error;
  if (std::filesystem::exists(folder, error) && !std::filesystem::is_directory(folder, error))
    throw Error(fmt::format("[report] {} is a file; name a folder", folder.string()));
  std::filesystem::create_directories(folder, error);
  if (error)
    throw Error(fmt::format("[report] the folder {} cannot be made ({}); name one where you may write",
                            folder.string(), error.message()));
  if (::access(folder.c_str(), W_OK | X_OK) != 0)
    throw Error(fmt::format("[report] the folder {} is not writable; name another", folder.string()));
}

void write_report(const std::filesystem::path& folder, const Report& report) {
  prepare_report_folder(folder);
  const std::vector<std::string> names = snapshot_names(report.runs);
  for (std::size_t i = 0; i < names.size(); ++i)
    write_file_atomically(folder / names[i], memory_snapshot(report.runs[i]));
  write_file_atomically(folder / "trace.json", chrome_trace(report.runs));
  write_file_atomically(folder / "report.html", report_page(report));
}

}  // namespace reprise::cli
