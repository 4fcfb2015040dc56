#include "cli/parse_errors.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <vector>

namespace reprise::cli {
namespace {

/// The command that was chosen; the program where none was.
const CLI::App& chosen(const CLI::App& app) {
  const std::vector<CLI::App*> commands = app.get_subcommands();
  return commands.empty() ? app : *commands.front();
}

std::string names_of_commands(const CLI::App& app) {
  std::string names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; }))
    names += (names.empty() ? "" : ", ") + command->get_name();
  return names;
}

/// Single changes that lead from one text to the other.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, diagonal + 1});
    }
  }
  return row.back();
}

/// "; did you mean --layers?" where an option's name is near.
std::string suggestion(const CLI::App& command, const std::string& given) {
  constexpr std::size_t kNear = 2;
  std::string best;
  std::size_t least = kNear + 1;
  for (const CLI::Option* option : command.get_options()) {
    const std::size_t far = distance(given, option->get_name());
    if (option->get_positional() || far >= least) continue;
    least = far;
    best = option->get_name();
  }
  return best.empty() ? best : fmt::format(" (did you mean {}?)", best);
}

std::string explain_rest(const CLI::App& command, const std::vector<std::string>& rest) {
  const std::string& first = rest.front();
  if (first.starts_with("-")) {
    const std::string name = first.substr(0, first.find('='));
    return fmt::format("{} is no option{}", name, suggestion(command, name));
  }
  return fmt::format("'{}' is not expected here", first);
}

/// An option that was given more often than it takes values; null: none.
const CLI::Option* given_twice(const CLI::App& command) {
  for (const CLI::Option* option : command.get_options()) {
    if (option->get_items_expected_max() == 1 && option->count() > 1) return option;
  }
  return nullptr;
}

std::string what_is_wrong(const CLI::ParseError& error, const CLI::App& app, const CLI::App& command) {
  const std::vector<std::string> rest = app.remaining(true);
  if (&command == &app) {
    if (rest.empty()) return "a subcommand is required: " + names_of_commands(app);
    if (!rest.front().starts_with("-"))
      return fmt::format("'{}' is no subcommand; there are {}", rest.front(), names_of_commands(app));
    return explain_rest(app, rest);
  }
  if (dynamic_cast<const CLI::ArgumentMismatch*>(&error) != nullptr) {
    if (const CLI::Option* option = given_twice(command); option != nullptr)
      return fmt::format("{} is given {} times; give it once", option->get_name(), option->count());
  }
  const bool unknown = dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr;
  return unknown && !rest.empty() ? explain_rest(command, rest) : error.what();
}

}  // namespace

std::string explain(const CLI::ParseError& error, const CLI::App& app) {
  const CLI::App& command = chosen(app);
  return fmt::format("{}; see reprise{}{} --help", what_is_wrong(error, app, command),
                     &command == &app ? "" : " ", &command == &app ? "" : command.get_name());
}

}  // namespace reprise::cli
