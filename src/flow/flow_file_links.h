#pragma once
// The links of a flow file, and what must hold of the graph that they make.
// Threading: none of its own.
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "flow/flow_file.h"
#include "flow/flow_file_stage.h"
#include "flow/yaml_document.h"
#include "flow/yaml_source.h"

namespace sluice::flow {

class LinkReader final {
 public:
  /// `stages` are those of the file that its `links` may name.
  LinkReader(const std::vector<FileStage>& stages, const YamlSource& source, FileMistakes& mistakes);

  /// What stands behind `links`.
  void read(const YamlNode& links);
  void read_errors(std::size_t from, const ErrorsTo& to);

  /// Judges the graph: stages without a link, cycles without a spill, `share` that shares nothing. Only if every link
  /// was read: of half of them it would say what is not so.
  void judge_graph();

  std::vector<FileLink> take() { return std::move(links_); }

 private:
  void read_link(const YamlNode& node);
  void read_map(const YamlNode& node);
  void read_chain(const YamlNode& node, const SlowPolicy& slow);
  std::optional<std::size_t> find(std::string_view name, TextPlace place);
  void add(FileLink link);
  void refuse(TextPlace place, std::string message);
  void judge_lonely();
  void judge_share();
  void judge_shared_links();
  void judge_stdin();
  void judge_cycles();

  const std::vector<FileStage>& stages_;
  const YamlSource& source_;
  FileMistakes& mistakes_;
  std::map<std::string, std::size_t, std::less<>> index_;
  std::vector<FileLink> links_;
  std::map<std::pair<std::size_t, std::size_t>, TextPlace> linked_[2];  // by whether it is of stderr
  bool complete_ = true;
  std::size_t hints_ = 0;
};

}  // namespace sluice::flow
