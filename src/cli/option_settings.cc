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

}  // namespace sluice::cli
