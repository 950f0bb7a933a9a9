#pragma once
// A flow before anything is decided about it: stages and links, as the user said it.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "flow/restart.h"
#include "flow/shell_text.h"
#include "flow/stage_words.h"

namespace sluice::flow {

struct Stage {
  std::string command;  // what the user wrote, without its @ words: for people
  StageWords words;
  // The words to execute, when no shell would change them; `shell_text` says the same for a shell.
  std::optional<std::vector<std::string>> plain_words;
  std::vector<PathWord> path_words;        // files that it may need with it
  std::vector<std::string> path_patterns;  // for such files, which only a shell resolves
  bool first_word_quoted = false;
  bool without_shell = false;  // `run -- CMD`: even a builtin's name is a file's
  std::string shell_text;
  bool error_joins_output = false;  // of plain words; `shell_text` has its own `2>&1`
  // In place of what holds for the whole flow:
  std::optional<std::uint32_t> retries;      // of a record that failed
  std::optional<double> records_per_second;  // at most
  // Of a worker:
  std::uint32_t concurrency = 0;  // records that it works on at a time; 0: as many as it wishes
  Restart restart = Restart::never;
};

struct Link {
  std::size_t from = 0;  // stage
  std::size_t to = 0;
};

struct FlowGraph {
  std::vector<Stage> stages;
  std::vector<Link> links;
};

}  // namespace sluice::flow
