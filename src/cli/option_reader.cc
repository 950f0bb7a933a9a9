#include "cli/option_reader.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include "base/spelling.h"
#include "cli/option_settings.h"

namespace sluice::cli {
namespace {

class VerbFormatter final : public CLI::Formatter {
 public:
  VerbFormatter(std::string verb, std::string usage) : verb_(std::move(verb)), usage_(std::move(usage)) {
    column_width(34);
  }
  std::string make_usage(const CLI::App*, std::string) const override {
    return fmt::format("\nUsage: sluice {} {}\n", verb_, usage_);
  }

 private:
  std::string verb_;
  std::string usage_;
};

}  // namespace

struct OptionReader::Impl {
  Text text;
  CLI::App app;
  std::vector<std::string>* operands = nullptr;
  std::size_t least = 0, most = 0;
  OperandKind operand_kind = OperandKind::unknown;
  std::string what;
  Settings* settings = nullptr;
  std::vector<std::string_view> setting_keys;

  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const CLI::Option* option : app.get_options())
      for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
    return names;
  }

  std::string take_settings() {
    const CLI::Option* none = app.get_option_no_throw("--no-config");
    if (settings == nullptr || (none != nullptr && none->count() > 0)) return {};
    auto read = read_settings();
    if (!read) return read.error();
    *settings = *std::move(read);
    fill_from_settings(app, *settings, setting_keys);
    return {};
  }

  std::string take_operands(const std::vector<std::string>& rest) const {
    for (const std::string& argument : rest)
      if (argument.size() > 1 && argument[0] == '-') {
        std::string name = argument.substr(0, argument.find('='));
        return fmt::format("unknown option '{}'{}; 'sluice {} --help' lists them", name, did_you_mean(name, names()),
                           text.verb);
      }
    if (rest.size() < least) return fmt::format("{} is missing: sluice {} {}", what, text.verb, text.usage);
    if (rest.size() > most)
      return fmt::format("unexpected argument '{}': sluice {} {}", rest[most], text.verb, text.usage);
    if (operands != nullptr) *operands = rest;
    return {};
  }

  int complete(const Arguments& arguments) const {
    VerbHelp help{.options = option_help(app), .operands_max = most, .operands = operand_kind};
    Arguments words(arguments.begin() + 1, arguments.end());
    return print_candidates(complete_arguments(help, words), words.empty() ? "" : words.back());
  }

  // An unset variable of a script gives an empty value; taken for "not given" it would be ignored in silence.
  std::string find_empty_value() const {
    for (const CLI::Option* option : app.get_options())
      for (const std::string& value : option->results())
        if (value.empty() && option->get_items_expected_max() > 0)
          return fmt::format("{} has an empty value; leave it out, or give one", option->get_name());
    return {};
  }
};

OptionReader::OptionReader(Text text) : impl_(std::make_unique<Impl>()) {
  impl_->app.description(text.description);
  impl_->app.allow_extras();
  impl_->app.footer(text.examples.empty() ? std::string() : "Examples:\n" + text.examples);
  impl_->app.formatter(std::make_shared<VerbFormatter>(text.verb, text.usage));
  impl_->text = std::move(text);
}

OptionReader::~OptionReader() = default;

void OptionReader::flag(const std::string& names, bool& value, const std::string& help) {
  impl_->app.add_flag(names, value, help);
}

void OptionReader::value(const std::string& names, std::string& value, const std::string& type,
                         const std::string& help) {
  impl_->app.add_option(names, value, help)->type_name(type);
}

void OptionReader::values(const std::string& names, std::vector<std::string>& values, const std::string& type,
                          const std::string& help) {
  impl_->app.add_option(names, values, help)->allow_extra_args(false)->type_name(type);
}

void OptionReader::operands(std::vector<std::string>& operands, std::size_t least, std::size_t most,
                            const std::string& what, OperandKind kind) {
  impl_->operands = &operands;
  impl_->operand_kind = kind;
  impl_->least = least;
  impl_->most = most;
  impl_->what = what;
}

void OptionReader::settings(Settings& settings, std::vector<std::string_view> keys) {
  impl_->settings = &settings;
  impl_->setting_keys.insert(impl_->setting_keys.end(), keys.begin(), keys.end());
}

std::expected<void, OptionReader::Stop> OptionReader::read(const Arguments& arguments) {
  if (asks_for_completion(arguments)) return std::unexpected(Stop{impl_->complete(arguments)});
  std::string problem;
  try {
    impl_->app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));  // the order that CLI11 wants
    problem = impl_->take_operands(impl_->app.remaining());
    if (problem.empty()) problem = impl_->find_empty_value();
  } catch (const CLI::CallForHelp&) {
    return std::unexpected(Stop{print(impl_->app.help())});
  } catch (const CLI::ParseError& error) {
    problem = fmt::format("{}; 'sluice {} --help' lists the options", error.what(), impl_->text.verb);
  }
  if (!problem.empty()) return std::unexpected(Stop{refuse(kUsage, fmt::format("{}: {}", impl_->text.verb, problem))});
  if (problem = impl_->take_settings(); !problem.empty()) return std::unexpected(Stop{refuse(kUsage, problem)});
  return {};
}

}  // namespace sluice::cli
