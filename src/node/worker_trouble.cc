#include "node/worker_trouble.h"

#include <fmt/format.h>

#include <cstdint>

namespace sluice::node {
namespace {

using Broken = flow::WorkerWork::Broken;
using flow::AttemptEnd;

constexpr const char* kLibraryHint = "; is it linked with a library of Sluice (docs/workers.md)?";

std::string ordinal(std::uint32_t number) {
  const char* suffix = number % 100 / 10 == 1 ? "th"
                       : number % 10 == 1     ? "st"
                       : number % 10 == 2     ? "nd"
                       : number % 10 == 3     ? "rd"
                                              : "th";
  return fmt::format("{}{}", number, suffix);
}

std::string how(const AttemptEnd& end) {
  if (!end.why.empty()) return "was ended: " + end.why;
  if (end.status.by_signal()) return fmt::format("was ended by signal {}", end.status.signal());
  return fmt::format("exited with status {}", end.status.exit_code());
}

std::string when(const Broken& broken) {
  if (!broken.end.why.empty()) return "";
  if (!broken.said_hello) return " before it said hello";
  if (broken.in_hand > 0)
    return fmt::format(" with {} record{} in hand", broken.in_hand, broken.in_hand > 1 ? "s" : "");
  return "";
}

}  // namespace

std::pair<int, std::string> worker_trouble(const Broken& broken, const std::string& command, flow::Restart restart) {
  const AttemptEnd& end = broken.end;
  int status = end.why.empty() && !end.status.success() ? end.status.shell_status() : 125;
  std::string who = fmt::format("worker {} {}", broken.worker + 1, command);
  std::string hint = broken.said_hello || !end.why.empty() ? "" : kLibraryHint;
  switch (broken.why) {
    case Broken::Why::record_failed:
      return {1, fmt::format("{} failed record {}{}: {}; {}--dead-letter FILE lets the rest go on", who, broken.record,
                             broken.attempts > 1 ? fmt::format(" for the {} time", ordinal(broken.attempts)) : "",
                             end.why.empty() ? "it gave no reason" : end.why,
                             broken.attempts > 1 ? "" : "--retries tries again, ")};
    case Broken::Why::record_died:
      return {status, fmt::format("{} {}; record {} was in its hand, and has ended its worker for the {} time now; "
                                  "--dead-letter FILE lets the rest go on",
                                  who, how(end), broken.record, ordinal(broken.attempts))};
    case Broken::Why::source_lost:
      return {status, fmt::format("{} {}; it is a source, and what it would still have written is "
                                  "not known{}",
                                  who, how(end), hint)};
    case Broken::Why::idle_endings:
      return {status, fmt::format("{} {}{}, for the {} time in a row without anything done{}", who, how(end),
                                  when(broken), ordinal(broken.attempts), hint)};
    case Broken::Why::end_lost:
      return {status,
              fmt::format("{} {} behind the end of its input, before it had finished; what it would have written "
                          "then is not known",
                          who, how(end))};
    case Broken::Why::nobody_left:
      break;
  }
  bool in_order = end.status.success() && end.why.empty();
  std::string advice = restart == flow::Restart::always ? ""
                       : in_order                       ? "; 'restart: always' starts another"
                                                        : "; 'restart: on-failure' starts it anew";
  return {status, fmt::format("{} {}{}, and no worker is left for the records{}", who, how(end), when(broken),
                              hint.empty() ? advice : hint)};
}

}  // namespace sluice::node
