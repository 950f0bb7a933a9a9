#pragma once
// Between options and what else knows of them: settings, which stand for those that the arguments left out, and completion.
#include <span>
#include <string_view>
#include <vector>

#include "cli/completion.h"
#include "cli/settings.h"

namespace CLI {
class App;
}

namespace sluice::cli {

/// Gives each option of these names that was not given the value of its setting, if it has one. `app` has parsed.
void fill_from_settings(CLI::App& app, const Settings& settings, std::span<const std::string_view> keys);

/// Every option by each of its names.
std::vector<OptionHelp> option_help(const CLI::App& app);

}  // namespace sluice::cli
