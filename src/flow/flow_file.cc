#include "flow/flow_file.h"

#include <fmt/format.h>

#include <algorithm>

#include "flow/flow_file_links.h"
#include "flow/flow_file_stage.h"
#include "flow/flow_file_values.h"
#include "flow/yaml_document.h"
#include "flow/yaml_source.h"

namespace sluice::flow {
namespace {

constexpr std::string_view kFileKeys[] = {"name", "stages", "links"};

class FileReader final {
 public:
  FileReader(std::string_view text, ShellDialect dialect, FileMistakes& mistakes)
      : source_(text), dialect_(dialect), mistakes_(mistakes) {}

  void read(const YamlNode& root) {
    if (root.kind != YamlNode::Kind::map) {
      mistakes_.add(root.place, fmt::format("a flow file is a map with 'stages' and 'links', and this is {}",
                                            root.kind == YamlNode::Kind::nothing ? "empty" : describe_value(root)));
      return;
    }
    for (const YamlEntry& entry : root.entries) take(entry);
    if (stages_ == nullptr)
      mistakes_.add(root.place, "'stages' is missing: stages: { list: { run: ls }, count: { run: wc -l } }");
    else
      read_stages();
  }

  FlowFile take_file() { return std::move(file_); }

 private:
  void take(const YamlEntry& entry) {
    KeyedValue value{entry.key, entry.place, entry.value};
    ValueReader values(mistakes_);
    if (entry.key == "name") {
      file_.name = values.text(value, "the flow's name").value_or("");
      if (file_.name.find('/') != std::string::npos)
        mistakes_.add(value.place(), "name: it has no '/', which stands between a flow and its stage");
    } else if (entry.key == "stages") {
      stages_ = &entry;
    } else if (entry.key == "links") {
      links_ = &entry;
    } else {
      mistakes_.add(entry.place, fmt::format("unknown key '{}'{}", entry.key,
                                             spelling_help(entry.key, kFileKeys, "keys of the file")));
    }
  }

  void read_stages() {
    ValueReader values(mistakes_);
    KeyedValue value{stages_->key, stages_->place, stages_->value};
    if (value.node.kind != YamlNode::Kind::map)
      return values.refuse(value, "a map of stages by name, such as { sorter: { run: sort } }");
    if (value.node.entries.empty())
      return mistakes_.add(value.key_place, "stages: there is none; write { sorter: { run: sort } }");
    if (value.node.entries.size() > kFileStagesMax)
      return mistakes_.add(value.key_place, fmt::format("stages: there are more than {}", kFileStagesMax));
    std::vector<std::optional<ErrorsTo>> errors;
    for (const YamlEntry& entry : value.node.entries) {
      ReadStage read = read_file_stage(entry, source_, dialect_, mistakes_);
      file_.stages.push_back(std::move(read.stage));
      errors.push_back(std::move(read.errors_to));
    }
    read_links(errors);
  }

  void read_links(const std::vector<std::optional<ErrorsTo>>& errors) {
    LinkReader links(file_.stages, source_, mistakes_);
    if (links_ != nullptr && links_->value.kind != YamlNode::Kind::list) {
      ValueReader(mistakes_).refuse({links_->key, links_->place, links_->value}, "a list of links, such as [ a -> b ]");
      return;
    }
    if (links_ != nullptr) links.read(links_->value);
    bool any_errors = std::ranges::any_of(errors, [](const auto& to) { return to.has_value(); });
    if (links_ == nullptr && !any_errors && file_.stages.size() > 1)
      return mistakes_.add(stages_->place,
                           fmt::format("'links' is missing: {} stages need links between them: links: [ "
                                       "{} -> {} ]",
                                       file_.stages.size(), file_.stages[0].name, file_.stages[1].name));
    for (std::size_t i = 0; i < errors.size(); ++i)
      if (errors[i]) links.read_errors(i, *errors[i]);
    links.judge_graph();
    file_.links = links.take();
  }

  YamlSource source_;
  ShellDialect dialect_;
  FileMistakes& mistakes_;
  FlowFile file_;
  const YamlEntry* stages_ = nullptr;
  const YamlEntry* links_ = nullptr;
};

}  // namespace

std::expected<FlowFile, std::vector<FileMistake>> read_flow_file(std::string_view text, ShellDialect dialect) {
  FileMistakes mistakes;
  auto root = read_yaml(text, mistakes);
  if (!root) {
    mistakes.add(root.error().place, root.error().message);
    return std::unexpected(mistakes.take());
  }
  FileReader reader(text, dialect, mistakes);
  reader.read(*root);
  if (!mistakes.empty()) return std::unexpected(mistakes.take());
  return reader.take_file();
}

}  // namespace sluice::flow
