#include "cli/run_flow_file.h"

#include "cli/flow_file_input.h"
#include "flow/flow_drawing.h"
#include "flow/flow_file.h"
#include "flow/flow_file_graph.h"

namespace sluice::cli {
namespace {

// What can't run yet has a plan all the same.
int show_graph(const flow::FlowFile& file, const std::vector<flow::FileMistake>& problems, bool json) {
  print(json ? flow::draw_as_json(file, problems) + "\n" : flow::draw_as_text(file));
  return kFailed;
}

}  // namespace

std::expected<flow::FlowGraph, int> read_file_flow(const std::string& text, RunOptions& options,
                                                   flow::ShellDialect dialect) {
  const std::string& name = options.file;
  auto file = flow::read_flow_file(text, dialect);
  if (!file) {
    say_mistakes(name, file.error());
    return std::unexpected(options.dry_run ? kFailed : node::kRefused);
  }
  auto graph = flow::graph_of(*file);
  if (!graph) {
    int status = options.dry_run ? show_graph(*file, graph.error(), options.json) : node::kRefused;
    say_mistakes(name, graph.error());
    return std::unexpected(status);
  }
  options.text = shown_name(name);
  if (options.name.empty()) options.name = file->name;
  return *std::move(graph);
}

}  // namespace sluice::cli
