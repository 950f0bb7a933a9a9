#pragma once
// One stage of a flow file: its keys, one by one and as they go together.
// Threading: pure functions.
#include <optional>
#include <string>
#include <vector>

#include "flow/flow_file.h"
#include "flow/yaml_document.h"
#include "flow/yaml_source.h"

namespace sluice::flow {

/// Where the stderr of a stage goes: the name of another, which may not exist.
struct ErrorsTo {
  std::string stage;
  TextPlace place;
  SlowPolicy slow;
};

struct ReadStage {
  FileStage stage;
  std::optional<ErrorsTo> errors_to;
};

/// Reads what it can, whatever else is wrong.
ReadStage read_file_stage(const YamlEntry& entry, const YamlSource& source, ShellDialect dialect,
                          FileMistakes& mistakes);

}  // namespace sluice::flow
