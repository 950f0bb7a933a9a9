// Any bytes as a flow file: it is read or its mistakes have places in it, and what was read can be drawn and run
// through.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "flow/flow_drawing.h"
#include "flow/flow_file.h"
#include "flow/flow_file_graph.h"
#include "flow/graph_wiring.h"
#include "require.h"

namespace {

using namespace sluice::flow;
using sluice::fuzz::require;

void check_mistakes(std::string_view text, const std::vector<FileMistake>& mistakes) {
  require(!mistakes.empty(), "a refusal has a reason");
  require(std::ranges::is_sorted(mistakes, {}, &FileMistake::place), "mistakes are in the order of their places");
  // YAML 1.1 has more kinds of line ends than LF; there are at most as many lines as bytes.
  for (const FileMistake& mistake : mistakes) {
    require(mistake.place.line >= 1 && mistake.place.line <= text.size() + 1, "a mistake lies on a line");
    require(mistake.place.column >= 1 && mistake.place.column <= text.size() + 1, "a mistake lies on a column");
    require(!mistake.message.empty(), "a mistake has a message");
  }
  std::string described = describe_mistakes("f", mistakes);
  auto lines = static_cast<std::size_t>(std::ranges::count(described, '\n'));
  require(lines == mistakes.size(), "a mistake is a line");
}

void check_file(const FlowFile& file) {
  require(!file.stages.empty(), "a flow has a stage");
  std::vector<bool> linked(file.stages.size());
  for (const FileLink& link : file.links) {
    require(link.from < file.stages.size() && link.to < file.stages.size(), "a link joins stages");
    require(link.from != link.to, "a link joins two stages");
    linked[link.from] = linked[link.to] = true;
  }
  bool all_linked = std::ranges::find(linked, false) == linked.end();
  require(file.stages.size() == 1 || all_linked, "every stage is linked");
  for (const FileStage& stage : file.stages) require(!stage.stage.command.empty(), "a stage has a command");
}

void check_drawings(const FlowFile& file) {
  std::string drawing = draw_as_text(file), dot = draw_as_dot(file);
  for (const FileStage& stage : file.stages) {
    require(drawing.find(stage.name) != std::string::npos, "a drawing has every stage");
    require(dot.find("\"" + stage.name + "\" [label=") != std::string::npos, "DOT has every stage");
  }
  auto lines = static_cast<std::size_t>(std::ranges::count(drawing, '\n'));
  // Each stage, each link that does not lead down to one, and a caption where links leave together.
  require(lines <= 2 * file.stages.size() + file.links.size(), "a drawing has each stage and link once");
}

void check_wiring(const FlowGraph& graph) {
  Wiring wiring = wire(graph);
  require(wiring.plain.size() == graph.links.size(), "each link is judged");
  auto plain = static_cast<std::size_t>(std::ranges::count(wiring.plain, true));
  std::size_t paths = 0, into_stdout = 0;
  for (const Junction& junction : wiring.junctions) {
    paths += junction.paths.size();
    for (const Junction::Path& path : junction.paths) {
      require(path.input < junction.inputs.size() && path.output < junction.outputs.size(), "a path has ends");
      into_stdout += junction.outputs[path.output].stage ? 0 : 1;
    }
  }
  require(plain + paths == graph.links.size() + into_stdout, "each link is plain, or a path of one junction");
  require(into_stdout == 0 || !wiring.writes_stdout, "stdout is that of one stage, or merged");
}

void check_graph(const FlowFile& file) {
  auto graph = graph_of(file);
  if (!graph) return require(!graph.error().empty(), "a refusal has a reason");
  require(graph->stages.size() == file.stages.size(), "a graph has every stage");
  require(graph->links.size() == file.links.size(), "a graph has every link");
  for (const Link& link : graph->links) require(link.from < link.to, "a link leads on to a later stage");
  check_wiring(*graph);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto file = read_flow_file(text);
  if (!file) {
    check_mistakes(text, file.error());
    return 0;
  }
  check_file(*file);
  check_drawings(*file);
  check_graph(*file);
  return 0;
}
