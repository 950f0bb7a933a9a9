// Completion: a small script for each shell, which asks the program itself, so that live values (shells, variables,
// nodes, flows) are completed as they are now.
#include <fmt/format.h>

#include "base/spelling.h"
#include "cli/completion.h"
#include "cli/verbs.h"

namespace sluice::cli {
namespace {

// A line ":files" or ":folders" in the answer asks the shell to complete those itself.
constexpr const char* kBash = R"SCRIPT(# bash completion for sluice; add to ~/.bashrc: eval "$(sluice completion bash)"
_sluice() {
  local answer line word before='' rest=${COMP_LINE#*"${COMP_WORDS[0]}"} words=()
  # bash takes words apart at : and @, which are a part of ours.
  for word in "${COMP_WORDS[@]:1:COMP_CWORD}"; do
    if [[ $rest != [[:space:]]* && ( $word == [:@]* || $before == *[:@] ) && ${#words[@]} -gt 0 ]]; then
      words[-1]+=$word
    else
      words+=("$word")
    fi
    before=$word
    rest=${rest#"${rest%%[![:space:]]*}"}
    rest=${rest#"$word"}
  done
  local typed=${words[-1]} taken=''
  [[ $typed == [\'\"]* || $typed != *:* ]] || taken=${typed%"${typed##*:}"}
  COMPREPLY=()
  answer=$("${COMP_WORDS[0]}" __complete "${words[@]}" 2>/dev/null) || return
  while IFS= read -r line; do
    case $line in
      :files) compopt -o filenames; COMPREPLY+=($(compgen -f -- "${COMP_WORDS[COMP_CWORD]}")) ;;
      :folders) compopt -o filenames; COMPREPLY+=($(compgen -d -- "${COMP_WORDS[COMP_CWORD]}")) ;;
      ?*) COMPREPLY+=("${line#"$taken"}") ;;
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
      # zsh keeps an open quote to itself.
      ?*) candidates+=("${line#${compstate[quote]}}") ;;
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

// The verb's own words come from where it reads its options (cli/completion.h).
int complete_verb_words(const Arguments& words) {
  const std::string& verb = words[0];
  if (verb == "completion") return words.size() == 2 ? print_candidates(kShells, words[1]) : kSuccess;
  if (verb == "help") return words.size() == 2 ? print_candidates(verb_names(), words[1]) : kSuccess;
  if (verb == "version") return print_candidates({"--json", "--help"}, words.back());
  const Verb* found = find_verb(verb);
  if (found == nullptr || found->hidden) return kSuccess;
  Arguments rest = {kCompleteArgument};
  rest.insert(rest.end(), words.begin() + 1, words.end());
  return found->run(rest);
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
  if (arguments.size() > 1) return complete_verb_words(arguments);
  Candidates candidates = verb_names();
  candidates.insert(candidates.end(), {"--help", "--version"});
  return print_candidates(candidates, arguments.empty() ? "" : arguments[0]);
}

}  // namespace sluice::cli
