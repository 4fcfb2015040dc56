#include "cli/report/report.h"

#include <fmt/format.h>

#include <system_error>

#include "cli/files.h"
#include "cli/report/chrome_trace.h"
#include "cli/report/page.h"
#include "cli/report/snapshot.h"
#include "cli/utf8.h"
#include "reprise/error.h"

namespace reprise::cli {

namespace {

constexpr const char* kTraceFile = "trace.json";
constexpr const char* kPageFile = "report.html";

}  // namespace

std::vector<std::filesystem::path> prepare_report_folder(const std::filesystem::path& folder,
                                                         const std::vector<std::string>& settings) {
  const std::string name = printable(folder.string());
  std::error_code error;
  if (std::filesystem::exists(folder, error) && !std::filesystem::is_directory(folder, error))
    throw Error(fmt::format("[report] {} is a file; name a folder", name));
  std::filesystem::create_directories(folder, error);
  if (error)
    throw Error(fmt::format("[report] the folder {} cannot be made ({}); name one where you may write", name,
                            error.message()));
  std::vector<std::filesystem::path> files{folder / kTraceFile, folder / kPageFile};
  std::vector<RunReport> runs(settings.size());
  for (std::size_t i = 0; i < runs.size(); ++i) runs[i].segments = settings[i];
  for (const std::string& snapshot : snapshot_names(runs)) files.push_back(folder / snapshot);
  for (const std::filesystem::path& file : files) require_writable(file);
  return files;
}

void write_report(const std::filesystem::path& folder, const Report& report) {
  std::vector<std::string> settings;
  for (const RunReport& run : report.runs) settings.push_back(run.segments);
  prepare_report_folder(folder, settings);
  const std::vector<std::string> names = snapshot_names(report.runs);
  for (std::size_t i = 0; i < names.size(); ++i)
    write_file_atomically(folder / names[i], memory_snapshot(report.runs[i]));
  write_file_atomically(folder / kTraceFile, chrome_trace(report.runs));
  write_file_atomically(folder / kPageFile, report_page(report));
}

}  // namespace reprise::cli
