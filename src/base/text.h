#pragma once
// Text that comes from users, files and peers, and goes to a terminal.
#include <string>
#include <string_view>

namespace sluice {

/// Replaces what would make a terminal do something by a question mark: the control characters C0, DEL and C1 (ECMA-48; C1
/// as UTF-8). Line ends and tabs stay.
std::string without_controls(std::string_view text);

}  // namespace sluice
