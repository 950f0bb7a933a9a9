#include "base/log.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <spdlog/logger.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "base/text.h"

namespace sluice {
namespace {

constexpr std::string_view kLevels[] = {"trace", "debug", "info", "warn", "error"};

std::string timestamp() {
  auto now = std::chrono::system_clock::now();
  auto milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count() % 1000;
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(std::chrono::system_clock::to_time_t(now)),
                     milliseconds);
}

bool needs_quotes(std::string_view value) { return value.empty() || value.find_first_of(" =\"\\\t") != value.npos; }

std::string as_text(const std::string& node, std::string_view level, std::string_view event,
                    std::initializer_list<LogField> fields) {
  std::string line = fmt::format("{} {:5} ", timestamp(), level);
  if (!node.empty()) line += node + ": ";
  line += event;
  for (const LogField& field : fields) {
    std::string value = without_controls(field.value);
    line += needs_quotes(value)
                ? fmt::format(" {}={}", field.key,
                              nlohmann::json(value).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace))
                : fmt::format(" {}={}", field.key, value);
  }
  return line;
}

std::string as_json(const std::string& node, std::string_view level, std::string_view event,
                    std::initializer_list<LogField> fields) {
  nlohmann::ordered_json line = {{"time", timestamp()}, {"level", level}};
  if (!node.empty()) line["node"] = node;
  line["event"] = event;
  for (const LogField& field : fields)
    line[std::string(field.key)] =
        field.number ? nlohmann::ordered_json::parse(field.value, nullptr, false) : nlohmann::ordered_json(field.value);
  return line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

std::optional<LogLevel> log_level_from(std::string_view name) {
  for (std::size_t i = 0; i < std::size(kLevels); ++i)
    if (name == kLevels[i]) return static_cast<LogLevel>(i);
  return std::nullopt;
}

std::optional<LogFormat> log_format_from(std::string_view name) {
  if (name == "text") return LogFormat::text;
  if (name == "json") return LogFormat::json;
  return std::nullopt;
}

struct Logger::Sink {
  spdlog::logger logger{"sluice", std::make_shared<spdlog::sinks::stderr_sink_mt>()};
};

Logger::Logger(Options options) : options_(std::move(options)), sink_(std::make_unique<Sink>()) {
  sink_->logger.set_pattern("%v");
  sink_->logger.set_level(spdlog::level::trace);
  sink_->logger.flush_on(spdlog::level::trace);
}

Logger::~Logger() = default;

void Logger::log(LogLevel level, std::string_view event, std::initializer_list<LogField> fields) {
  if (!enabled(level)) return;
  std::string_view name = kLevels[static_cast<std::size_t>(level)];
  std::string line = options_.format == LogFormat::json ? as_json(options_.node, name, event, fields)
                                                        : as_text(options_.node, name, event, fields);
  sink_->logger.log(spdlog::level::info, spdlog::string_view_t(line.data(), line.size()));
}

}  // namespace sluice
