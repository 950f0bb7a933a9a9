#pragma once
// The log of a node: one line is one event, a phrase and fields (`lease expired task=41 age_ms=30210`), or the same as
// one JSON object. It goes to stderr. No payload, environment value or secret belongs into it.
// Threading: any thread may log.
#include <concepts>
#include <cstdint>
#include <expected>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace sluice {

enum class LogLevel { trace, debug, info, warn, error };
enum class LogFormat { text, json };

std::optional<LogLevel> log_level_from(std::string_view name);
std::optional<LogFormat> log_format_from(std::string_view name);

struct LogField {
  std::string_view key;
  std::string value;
  bool number = false;

  LogField(std::string_view name, std::string_view text) : key(name), value(text) {}
  LogField(std::string_view name, const char* text) : key(name), value(text) {}
  LogField(std::string_view name, const std::string& text) : key(name), value(text) {}
  template <std::integral T>
  LogField(std::string_view name, T count) : key(name), value(std::to_string(count)), number(true) {}
};

class Logger final {
 public:
  struct Options {
    LogLevel level = LogLevel::info;
    LogFormat format = LogFormat::text;
    std::string node;  // in every line, if several nodes share a terminal
  };
  explicit Logger(Options options);
  ~Logger();
  Logger(const Logger&) = delete;
  Logger& operator=(const Logger&) = delete;

  bool enabled(LogLevel level) const { return level >= options_.level; }
  void log(LogLevel level, std::string_view event, std::initializer_list<LogField> fields = {});

  void trace(std::string_view event, std::initializer_list<LogField> fields = {}) {
    log(LogLevel::trace, event, fields);
  }
  void debug(std::string_view event, std::initializer_list<LogField> fields = {}) {
    log(LogLevel::debug, event, fields);
  }
  void info(std::string_view event, std::initializer_list<LogField> fields = {}) { log(LogLevel::info, event, fields); }
  void warn(std::string_view event, std::initializer_list<LogField> fields = {}) { log(LogLevel::warn, event, fields); }
  void error(std::string_view event, std::initializer_list<LogField> fields = {}) {
    log(LogLevel::error, event, fields);
  }

 private:
  struct Sink;
  Options options_;
  std::unique_ptr<Sink> sink_;
};

}  // namespace sluice
