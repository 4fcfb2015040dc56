// The report as one page that needs nothing else.
#pragma once

#include <string>

#include "cli/report/report.h"

namespace reprise::cli {

/// The page as HTML that is also well-formed XML.
std::string report_page(const Report& report);

}  // namespace reprise::cli
