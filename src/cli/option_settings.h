#pragma once
// From settings to options: what the arguments of a verb left out.
#include <span>
#include <string_view>

#include "cli/settings.h"

namespace CLI {
class App;
}

namespace sluice::cli {

/// Gives each option of these names that was not given the value of its setting, if it has one. `app` has parsed.
void fill_from_settings(CLI::App& app, const Settings& settings, std::span<const std::string_view> keys);

}  // namespace sluice::cli
