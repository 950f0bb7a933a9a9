#include "base/text.h"

namespace sluice {
namespace {

// U+0080 to U+009F are C2 80 to C2 9F in UTF-8 (RFC 3629).
bool starts_c1(std::string_view text) {
  if (text.size() < 2 || static_cast<unsigned char>(text[0]) != 0xc2) return false;
  auto second = static_cast<unsigned char>(text[1]);
  return second >= 0x80 && second <= 0x9f;
}

bool is_c0(char c) { return (static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t') || c == 0x7f; }

}  // namespace

std::string without_controls(std::string_view text) {
  std::string clean;
  clean.reserve(text.size());
  while (!text.empty()) {
    bool c1 = starts_c1(text);
    clean += c1 || is_c0(text[0]) ? '?' : text[0];
    text.remove_prefix(c1 ? 2 : 1);
  }
  return clean;
}

}  // namespace sluice
