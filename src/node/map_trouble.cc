#include "node/map_trouble.h"

#include <fmt/format.h>

#include <cstdint>

namespace sluice::node {
namespace {

std::string ordinal(std::uint32_t number) {
  const char* suffix = number % 100 / 10 == 1 ? "th"
                       : number % 10 == 1     ? "st"
                       : number % 10 == 2     ? "nd"
                       : number % 10 == 3     ? "rd"
                                              : "th";
  return fmt::format("{}{}", number, suffix);
}

}  // namespace

std::pair<int, std::string> map_trouble(const flow::MapWork::Broken& broken, const std::string& command) {
  const exec::ProcessStatus status = broken.end.status;
  std::string how = status.by_signal() ? fmt::format("was ended by signal {}", status.signal())
                                       : fmt::format("exited with status {}", status.exit_code());
  std::string who = fmt::format("worker {} {}", broken.worker + 1, command);
  if (broken.unanswered == 0)
    return std::pair(status.success() ? 125 : status.shell_status(),
                     fmt::format("{} {} before its input ended; a program of @map answers every record", who, how));
  if (status.success())
    return std::pair(125, fmt::format("{} {} and left {} record{} unanswered; a program of @map writes one record for "
                                      "each that it reads",
                                      who, how, broken.unanswered, broken.unanswered == 1 ? "" : "s"));
  if (broken.attempts > 1)
    return std::pair(status.shell_status(),
                     fmt::format("{} {} by the same record for the {} time; --dead-letter FILE lets the rest go on",
                                 who, how, ordinal(broken.attempts)));
  return std::pair(
      status.shell_status(),
      fmt::format("{} {} with {} record{} unanswered; --retries tries again, --dead-letter FILE lets the rest go on",
                  who, how, broken.unanswered, broken.unanswered == 1 ? "" : "s"));
}

}  // namespace sluice::node
