// Completion: a small script for each shell, which asks the program itself, so that live values (shells, variables,
// later nodes and flows) are completed as they are now.
#include <fmt/format.h>
#include <unistd.h>

#include <fstream>
#include <string_view>

#include "base/spelling.h"
#include "cli/run_options.h"
#include "cli/verbs.h"
#include "exec/environment.h"
#include "flow/stage_words.h"

namespace sluice::cli {
namespace {

// A line ":files" or ":folders" in the answer asks the shell to complete those itself.
constexpr const char* kBash = R"SCRIPT(# bash completion for sluice; add to ~/.bashrc: eval "$(sluice completion bash)"
_sluice() {
  local answer line
  COMPREPLY=()
  answer=$("${COMP_WORDS[0]}" __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null) || return
  while IFS= read -r line; do
    case $line in
      :files) compopt -o filenames; COMPREPLY+=($(compgen -f -- "${COMP_WORDS[COMP_CWORD]}")) ;;
      :folders) compopt -o filenames; COMPREPLY+=($(compgen -d -- "${COMP_WORDS[COMP_CWORD]}")) ;;
      ?*) COMPREPLY+=("$line") ;;
    esac
  done <<<"$answer"
}
complete -F _sluice sluice
)SCRIPT";

constexpr const char* kZsh = R"SCRIPT(#compdef sluice
# zsh completion for sluice; add to ~/.zshrc behind compinit: eval "$(sluice completion zsh)"
_sluice() {
  local -a answer candidates
  local line
  answer=("${(@f)$("${words[1]}" __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  for line in "${answer[@]}"; do
    case $line in
      :files) _files ;;
      :folders) _files -/ ;;
      ?*) candidates+=("$line") ;;
    esac
  done
  (( ${#candidates} )) && compadd -- "${candidates[@]}"
}
# Autoloaded from fpath, this file is the function itself; evaluated, it registers the function.
if [[ ${funcstack[1]} == _sluice ]]; then
  _sluice "$@"
else
  compdef _sluice sluice
fi
)SCRIPT";

constexpr const char* kFish = R"SCRIPT(# fish completion for sluice; save as ~/.config/fish/completions/sluice.fish
function __sluice_complete
    set -l typed (commandline --current-process --tokenize --cut-at-cursor) (commandline --current-token --cut-at-cursor)
    for line in ($typed[1] __complete $typed[2..-1] 2>/dev/null)
        switch $line
            case ':files'
                __fish_complete_path (commandline --current-token)
            case ':folders'
                __fish_complete_directories (commandline --current-token)
            case '?*'
                echo $line
        end
    end
end
complete --command sluice --no-files --arguments '(__sluice_complete)'
)SCRIPT";

const std::vector<std::string> kShells = {"bash", "zsh", "fish"};

constexpr const char* kHelp =
    "Print a completion script, which asks sluice itself for live values.\n\n"
    "Usage: sluice completion bash|zsh|fish\n\n"
    "Examples:\n"
    "  eval \"$(sluice completion bash)\"\n"
    "  sluice completion fish > ~/.config/fish/completions/sluice.fish\n";

using Candidates = std::vector<std::string>;

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

Candidates stage_words() {
  Candidates words;
  for (const flow::StageWordHelp& help : flow::stage_word_help()) {
    std::string word = help.word;
    bool is_placeholder = word.find("NODE") != std::string::npos || word.starts_with("@KEY");
    if (!is_placeholder) words.push_back(word);
  }
  return words;
}

Candidates option_values(std::string_view option) {
  if (option == "--pipefail") return kPipefailNames;
  if (option == "--progress") return kProgressNames;
  if (option == "--shell") return shells_of_this_host();
  if (option == "--env") return variable_names();
  if (option == "--cwd") return {":folders"};
  if (option == "--file" || option == "-f" || option == "--ship") return {":files"};
  return {};
}

bool takes_value(std::string_view option) {
  for (const OptionHelp& help : run_option_help())
    if (help.name == option) return help.takes_value;
  return option == "-f";
}

Candidates run_candidates(const Arguments& before, const std::string& current) {
  // bash takes "--pipefail=str" apart at the "=".
  bool behind_equals = before.size() >= 2 && before.back() == "=";
  std::string option = behind_equals ? before[before.size() - 2] : before.empty() ? "" : before.back();
  if (takes_value(option)) return option_values(option);
  // zsh and fish leave it in one word.
  std::size_t equals = current.starts_with("--") ? current.find('=') : std::string::npos;
  if (equals != std::string::npos) {
    Candidates pairs;
    for (const std::string& value : option_values(current.substr(0, equals)))
      if (!value.starts_with(':')) pairs.push_back(current.substr(0, equals + 1) + value);
    return pairs;
  }
  if (current.starts_with('@')) return stage_words();
  if (current.starts_with('-') || current.empty()) {
    Candidates options;
    for (const OptionHelp& help : run_option_help()) options.push_back(help.name);
    return options;
  }
  return {":files"};
}

Candidates candidates_for(const Arguments& words) {
  Candidates candidates;
  if (words.size() <= 1) {
    candidates = verb_names();
    candidates.insert(candidates.end(), {"--help", "--version"});
    return candidates;
  }
  if (words[0] == "completion" && words.size() == 2) return kShells;
  if (words[0] == "help" && words.size() == 2) return verb_names();
  if (words[0] == "version") return {"--json", "--help"};
  if (words[0] == "run") return run_candidates(Arguments(words.begin() + 1, words.end() - 1), words.back());
  return {};
}

}  // namespace

int completion_verb(const Arguments& arguments) {
  if (arguments == Arguments{"--help"} || arguments == Arguments{"-h"}) return print(kHelp);
  if (arguments.size() != 1)
    return refuse(kUsage, fmt::format("completion: name one shell: {}", fmt::join(kShells, ", ")));
  if (arguments[0] == "bash") return print(kBash);
  if (arguments[0] == "zsh") return print(kZsh);
  if (arguments[0] == "fish") return print(kFish);
  return refuse(kUsage, fmt::format("completion: '{}' is no shell that is known here{}; one of: {}", arguments[0],
                                    did_you_mean(arguments[0], kShells), fmt::join(kShells, ", ")));
}

// Arguments: the words of the line up to the cursor without the program's name; the last one is being typed.
int complete_verb(const Arguments& arguments) {
  std::string current = arguments.empty() ? "" : arguments.back();
  if (current == "=") current.clear();
  // Of a word that is being quoted, the shell hands us the open quote as well.
  std::string quote = current.starts_with('\'') || current.starts_with('"') ? current.substr(0, 1) : "";
  std::string_view typed = std::string_view(current).substr(quote.size());
  Arguments words = arguments;
  if (!words.empty()) words.back() = typed;
  std::string answer;
  for (const std::string& candidate : candidates_for(words)) {
    bool wanted = candidate.starts_with(':') || candidate.starts_with(typed);
    if (wanted) answer += (candidate.starts_with(':') ? "" : quote) + candidate + "\n";
  }
  return print(answer);
}

}  // namespace sluice::cli
