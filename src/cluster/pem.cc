#include "cluster/pem.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "cluster/base64.h"

namespace sluice::cluster {
namespace {

constexpr std::string_view kBegin = "-----BEGIN ";
constexpr std::string_view kEnd = "-----END ";
constexpr std::string_view kDashes = "-----";
constexpr std::size_t kLineSize = 64;

/// X of "-----BEGIN X-----", if `line` has that form.
std::optional<std::string_view> label_of(std::string_view line, std::string_view prefix) {
  if (!line.starts_with(prefix) || !line.ends_with(kDashes)) return std::nullopt;
  if (line.size() <= prefix.size() + kDashes.size()) return std::nullopt;
  return line.substr(prefix.size(), line.size() - prefix.size() - kDashes.size());
}

class PemParser final {
 public:
  explicit PemParser(std::string_view text) : rest_(text) {}

  std::expected<std::vector<PemBlock>, std::string> parse() {
    std::vector<PemBlock> blocks;
    while (!rest_.empty()) {
      const std::string_view line = next_line();
      if (line.empty() || line.starts_with('#')) continue;
      auto label = label_of(line, kBegin);
      if (!label) return fail("neither a comment nor the begin of a block");
      if (blocks.size() == kPemBlocksMax) return fail(fmt::format("more than {} blocks", kPemBlocksMax));
      auto value = parse_value(*label);
      if (!value) return std::unexpected(value.error());
      blocks.push_back({std::string(*label), std::move(*value)});
    }
    return blocks;
  }

 private:
  // Lines of other lengths than ours are read too: other programs wrap at 76.
  std::expected<SecretText, std::string> parse_value(std::string_view label) {
    SecretText text;
    while (!rest_.empty()) {
      const std::string_view line = next_line();
      if (!line.starts_with(kDashes)) {
        text.append(line);
        continue;
      }
      if (label_of(line, kEnd) != label) return fail("the block ends under another name than it began");
      auto value = from_base64(text.view());
      if (!value || value->size() == 0) return fail("the block above is no base64");
      return std::move(*value);
    }
    return fail("the last block has no end; was the file cut off?");
  }

  std::string_view next_line() {
    ++line_number_;
    const std::size_t end = std::min(rest_.find('\n'), rest_.size());
    std::string_view line = rest_.substr(0, end);
    rest_.remove_prefix(std::min(end + 1, rest_.size()));
    while (!line.empty() && (line.back() == '\r' || line.back() == ' ' || line.back() == '\t')) line.remove_suffix(1);
    return line;
  }

  std::unexpected<std::string> fail(std::string_view what) const {
    return std::unexpected(fmt::format("line {}: {}", line_number_, what));
  }

  std::string_view rest_;
  std::size_t line_number_ = 0;
};

}  // namespace

std::expected<std::vector<PemBlock>, std::string> parse_pem(std::string_view text) { return PemParser(text).parse(); }

std::expected<SecretText, std::string> parse_pem_block(std::string_view text, std::string_view label) {
  auto blocks = parse_pem(text);
  if (!blocks) return std::unexpected(blocks.error());
  if (blocks->size() != 1 || blocks->front().label != label)
    return std::unexpected(fmt::format("expected one block \"{}\" and nothing else", label));
  return std::move(blocks->front().value);
}

SecretText format_pem(std::string_view label, std::span<const std::uint8_t> value) {
  const SecretText body = to_base64(value);
  SecretText text(fmt::format("{}{}{}\n", kBegin, label, kDashes));
  for (std::string_view rest = body.view(); !rest.empty(); rest.remove_prefix(std::min(kLineSize, rest.size()))) {
    text.append(rest.substr(0, kLineSize));
    text.append("\n");
  }
  text.append(fmt::format("{}{}{}\n", kEnd, label, kDashes));
  return text;
}

}  // namespace sluice::cluster
