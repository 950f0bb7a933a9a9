#include "cli/completion.h"

#include <net/if.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <memory>
#include <optional>
#include <string_view>

#include "cli/context_file.h"
#include "cli/live_candidates.h"
#include "exec/environment.h"
#include "flow/stage_words.h"
#include "net/peer.h"

namespace sluice::cli {
namespace {

Candidates shells_of_this_host() {
  Candidates shells;
  std::ifstream list("/etc/shells");
  for (std::string line; std::getline(list, line);)
    if (line.starts_with('/') && ::access(line.c_str(), X_OK) == 0) shells.push_back(line);
  return shells;
}

Candidates variable_names() {
  Candidates names;
  exec::Environment environment = exec::Environment::of_this_process();
  for (const std::string& entry : environment.entries()) names.push_back(entry.substr(0, entry.find('=')) + "=");
  return names;
}

Candidates interface_names() {
  Candidates names;
  std::unique_ptr<struct if_nameindex, void (*)(struct if_nameindex*)> list(::if_nameindex(), ::if_freenameindex);
  for (auto* each = list.get(); each != nullptr && each->if_index != 0; ++each) names.emplace_back(each->if_name);
  return names;
}

Candidates role_names() {
  Candidates names;
  for (net::Role role : net::all_roles()) names.emplace_back(net::role_name(role));
  return names;
}

Candidates context_names() {
  Candidates names;
  if (auto contexts = read_contexts())
    for (const auto& [name, context] : contexts->all) names.push_back(name);
  return names;
}

Candidates alternatives(const std::string& type) {
  Candidates names;
  for (std::size_t begin = 0; begin <= type.size();) {
    std::size_t end = std::min(type.find('|', begin), type.size());
    names.push_back(type.substr(begin, end - begin));
    begin = end + 1;
  }
  return names;
}

Candidates stage_words() {
  Candidates words;
  for (const flow::StageWordHelp& help : flow::stage_word_help()) {
    std::string word = help.word;
    bool is_placeholder = word.find("NODE") != std::string::npos || word.starts_with("@KEY");
    if (!is_placeholder) words.push_back(word);
  }
  return words;
}

// The words of one line, and what they say about the node to ask.
class Line final {
 public:
  Line(const VerbHelp& verb, const Arguments& words)
      : verb_(verb), before_(words.begin(), words.end() - 1), current_(words.back()) {}

  Candidates complete() const {
    if (std::ranges::find(before_, "--") != before_.end()) return {":files"};  // run -- COMMAND ARGUMENT
    // bash takes "--role=run" apart at the "="; zsh and fish leave it in one word.
    bool behind_equals = before_.size() >= 2 && before_.back() == "=";
    std::string last = behind_equals ? before_[before_.size() - 2] : before_.empty() ? "" : before_.back();
    if (const OptionHelp* option = find(last); option != nullptr && !option->type.empty()) return values_of(*option);
    std::size_t equals = current_.starts_with("--") ? current_.find('=') : std::string::npos;
    if (equals != std::string::npos) return pairs(current_.substr(0, equals));
    if (current_.starts_with('-')) return option_names();
    Candidates operands = count_operands() < verb_.operands_max ? complete_operand() : Candidates{};
    return operands.empty() && current_.empty() ? option_names() : operands;
  }

 private:
  const OptionHelp* find(const std::string& name) const {
    auto found = std::ranges::find(verb_.options, name, &OptionHelp::name);
    return found == verb_.options.end() ? nullptr : &*found;
  }

  Candidates option_names() const {
    Candidates names;
    for (const OptionHelp& option : verb_.options)
      if (option.name.starts_with("--")) names.push_back(option.name);
    return names;
  }

  Candidates pairs(const std::string& name) const {
    Candidates pairs;
    if (const OptionHelp* option = find(name))
      for (const std::string& value : values_of(*option))
        if (!value.starts_with(':')) pairs.push_back(name + "=" + value);
    return pairs;
  }

  Candidates values_of(const OptionHelp& option) const {
    if (option.type == "FILE") return {":files"};
    if (option.type == "DIR") return {":folders"};
    if (option.type == "SHELL") return shells_of_this_host();
    if (option.type == "NAME=VALUE") return variable_names();
    if (option.type == "ROLE") return role_names();
    if (option.type == "LEVEL") return {"trace", "debug", "info", "warn", "error"};
    if (option.type == "IF") return interface_names();
    if (option.type == "URL") return live_node_urls(node_options());
    return option.type.find('|') == std::string::npos ? Candidates{} : alternatives(option.type);
  }

  std::size_t count_operands() const {
    std::size_t count = 0;
    for (std::size_t i = 0; i < before_.size(); ++i) {
      bool is_value = i > 0 && find(before_[i - 1]) != nullptr && !find(before_[i - 1])->type.empty();
      if (!is_value && !before_[i].starts_with('-') && before_[i] != "=") ++count;
    }
    return count;
  }

  Candidates complete_operand() const {
    switch (verb_.operands) {
      case OperandKind::unknown:
        return {};
      case OperandKind::file:
        return {":files"};
      case OperandKind::node:
        return live_node_names(node_options());
      case OperandKind::flow:
        return live_flows(node_options(), FlowsWanted::all);
      case OperandKind::running_flow:
        return live_flows(node_options(), FlowsWanted::running);
      case OperandKind::ended_flow:
        return live_flows(node_options(), FlowsWanted::ended);
      case OperandKind::context:
        return context_names();
      case OperandKind::pipeline:
        return complete_pipeline();
    }
    return {};
  }

  // Of a pipeline, which is one word for the shell, the last word of ours.
  Candidates complete_pipeline() const {
    std::size_t begin = current_.find_last_of(" \t|({") + 1;
    std::string head = current_.substr(0, begin), word = current_.substr(begin);
    if (!word.starts_with('@')) return head.empty() && !word.empty() ? Candidates{":files"} : Candidates{};
    Candidates words = stage_words();
    for (const std::string& node : live_node_names(node_options())) words.push_back("@" + node);
    for (std::string& each : words) each.insert(0, head);
    return words;
  }

  std::string value_given(const std::string& name) const {
    for (std::size_t i = 0; i < before_.size(); ++i) {
      if (before_[i].starts_with(name + "=")) return before_[i].substr(name.size() + 1);
      if (before_[i] != name) continue;
      std::size_t value = i + 1 < before_.size() && before_[i + 1] == "=" ? i + 2 : i + 1;
      return value < before_.size() ? before_[value] : "";
    }
    return {};
  }

  NodeOptions node_options() const {
    NodeOptions options{.node = value_given("--node"), .key = value_given("--key"), .cert = value_given("--cert")};
    if (auto settings = read_settings()) options.settings = *std::move(settings);
    return options;
  }

  const VerbHelp& verb_;
  Arguments before_;
  std::string current_;
};

// Of a word that is being quoted, the shell hands us the open quote as well.
std::string open_quote(const std::string& typed) {
  return typed.starts_with('\'') || typed.starts_with('"') ? typed.substr(0, 1) : "";
}

}  // namespace

bool asks_for_completion(const Arguments& arguments) {
  return !arguments.empty() && arguments.front() == kCompleteArgument;
}

Candidates complete_arguments(const VerbHelp& verb, const Arguments& words) {
  Arguments typed = words.empty() ? Arguments{""} : words;
  std::string& current = typed.back();
  current = current == "=" ? "" : current.substr(open_quote(current).size());
  return Line(verb, typed).complete();
}

int print_candidates(const Candidates& candidates, std::string typed) {
  if (typed == "=") typed.clear();
  std::string quote = open_quote(typed);
  typed.erase(0, quote.size());
  std::string answer;
  for (const std::string& candidate : candidates) {
    if (candidate.starts_with(':'))
      answer += candidate + "\n";
    else if (candidate.starts_with(typed))
      answer += quote + candidate + "\n";
  }
  return print(answer);
}

}  // namespace sluice::cli
