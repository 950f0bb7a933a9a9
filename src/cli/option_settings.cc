#include "cli/option_settings.h"

#include <CLI/CLI.hpp>
#include <string>

#include "base/require.h"

namespace sluice::cli {

void fill_from_settings(CLI::App& app, const Settings& settings, std::span<const std::string_view> keys) {
  for (std::string_view key : keys) {
    CLI::Option* option = app.get_option_no_throw("--" + std::string(key));
    REQUIRE(option != nullptr);
    const auto* values = settings.find(key);
    if (values == nullptr || option->count() > 0) continue;
    for (const SettingValue& value : *values) option->add_result(value.value);
    option->run_callback();
  }
}

std::vector<OptionHelp> option_help(const CLI::App& app) {
  std::vector<OptionHelp> help;
  for (const CLI::Option* option : app.get_options()) {
    std::string type = option->get_items_expected_max() > 0 ? option->get_type_name() : "";
    for (const std::string& name : option->get_lnames()) help.push_back({.name = "--" + name, .type = type});
    for (const std::string& name : option->get_snames()) help.push_back({.name = "-" + name, .type = type});
  }
  return help;
}

}  // namespace sluice::cli
