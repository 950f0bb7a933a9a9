#include "flow/flow_file_links.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/spelling.h"
#include "flow/flow_file_values.h"
#include "flow/graph_cycles.h"

namespace sluice::flow {
namespace {

constexpr std::string_view kLinkKeys[] = {"link", "slow"};
constexpr std::string_view kArrow = "->";
// Looking for the nearest of many names takes time, and nobody reads that many hints.
constexpr std::size_t kHintsMax = 20;
constexpr std::size_t kNamesShown = 8;

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n'; }

struct ChainName {
  std::string_view name;
  std::size_t offset = 0;
};

std::vector<ChainName> split_chain(std::string_view text) {
  std::vector<ChainName> names;
  for (std::size_t begin = 0; begin <= text.size();) {
    std::size_t end = std::min(text.find(kArrow, begin), text.size());
    std::size_t first = begin, last = end;
    while (first < last && is_space(text[first])) ++first;
    while (last > first && is_space(text[last - 1])) --last;
    names.push_back({text.substr(first, last - first), first});
    begin = end + kArrow.size();
  }
  return names;
}

std::string cycle_text(const std::vector<std::size_t>& cycle, const std::vector<FileStage>& stages) {
  std::string text;
  std::size_t shown = std::min(cycle.size(), kNamesShown);
  for (std::size_t i = 0; i < shown; ++i) text += stages[cycle[i]].name + " -> ";
  if (shown < cycle.size()) text += "... -> ";
  return text + stages[cycle.front()].name;
}

}  // namespace

LinkReader::LinkReader(const std::vector<FileStage>& stages, const YamlSource& source, FileMistakes& mistakes)
    : stages_(stages), source_(source), mistakes_(mistakes) {
  for (std::size_t i = 0; i < stages.size(); ++i) index_.emplace(stages[i].name, i);
}

void LinkReader::refuse(TextPlace place, std::string message) {
  complete_ = false;
  mistakes_.add(place, std::move(message));
}

void LinkReader::read(const YamlNode& links) {
  for (const YamlNode& link : links.items) {
    if (mistakes_.full()) return;
    read_link(link);
  }
}

void LinkReader::read_link(const YamlNode& node) {
  if (node.kind == YamlNode::Kind::text) return read_chain(node, {});
  if (node.kind == YamlNode::Kind::map) return read_map(node);
  refuse(node.place, fmt::format("a link is a text, a -> b, or a map, {{ link: a -> b, slow: drop }}, and this is {}",
                                 describe_value(node)));
}

void LinkReader::read_map(const YamlNode& node) {
  const YamlNode* chain = nullptr;
  SlowPolicy slow;
  ValueReader values(mistakes_);
  for (const YamlEntry& entry : node.entries) {
    KeyedValue value{entry.key, entry.place, entry.value};
    if (entry.key == "link") {
      chain = values.text(value, "stages with arrows between them, a -> b") ? &entry.value : nullptr;
      complete_ = complete_ && chain != nullptr;
    } else if (entry.key == "slow") {
      auto read = values.slow(value);
      complete_ = complete_ && read;
      slow = read.value_or(SlowPolicy{});
    } else {
      refuse(entry.place,
             fmt::format("unknown key '{}'{}", entry.key, spelling_help(entry.key, kLinkKeys, "keys of a link")));
    }
  }
  if (chain != nullptr) return read_chain(*chain, slow);
  bool named = std::ranges::find(node.entries, "link", &YamlEntry::key) != node.entries.end();
  if (!named) refuse(node.place, "this link does not say what it links: { link: a -> b }");
}

void LinkReader::read_chain(const YamlNode& node, const SlowPolicy& slow) {
  std::vector<ChainName> names = split_chain(node.text);
  if (names.size() < 2)
    return refuse(node.place,
                  fmt::format("{} links nothing; a link is written a -> b, or a -> b -> c", describe_value(node)));
  std::optional<std::size_t> from;
  for (std::size_t i = 0; i < names.size(); ++i) {
    TextPlace place = source_.place_in(node, names[i].offset);
    std::optional<std::size_t> to;
    if (names[i].name.empty())
      refuse(place, "a stage is missing beside this arrow: a -> b");
    else
      to = find(names[i].name, place);
    if (i > 0 && from && to) add({.from = *from, .to = *to, .slow = slow, .place = place});
    from = to;
  }
}

std::optional<std::size_t> LinkReader::find(std::string_view name, TextPlace place) {
  auto found = index_.find(name);
  if (found != index_.end()) return found->second;
  std::string hint;
  if (hints_++ < kHintsMax) {
    std::vector<std::string> names;
    for (const FileStage& stage : stages_) names.push_back(stage.name);
    if (name.size() > 1) hint = did_you_mean(name, names);  // one letter is near to any other
    if (hint.empty() && names.size() <= kNamesShown) hint = fmt::format("; stages: {}", fmt::join(names, " "));
  }
  refuse(place, fmt::format("there is no stage '{}'{}", name, hint));
  return std::nullopt;
}

void LinkReader::read_errors(std::size_t from, const ErrorsTo& to) {
  if (auto stage = find(to.stage, to.place))
    add({.from = from, .to = *stage, .of_errors = true, .slow = to.slow, .place = to.place});
}

void LinkReader::add(FileLink link) {
  const std::string &from = stages_[link.from].name, &to = stages_[link.to].name;
  if (link.from == link.to)
    return refuse(link.place, fmt::format("'{}' is linked to itself; name another stage", from));
  auto [first, is_new] = linked_[link.of_errors ? 1 : 0].emplace(std::pair(link.from, link.to), link.place);
  if (!is_new)
    return refuse(link.place,
                  fmt::format("'{} -> {}' is linked already, on line {}; leave one out", from, to, first->second.line));
  if (links_.size() == kFileLinksMax)
    return refuse(link.place, fmt::format("a flow has at most {} links", kFileLinksMax));
  links_.push_back(link);
}

void LinkReader::judge_graph() {
  if (!complete_) return;
  judge_lonely();
  judge_share();
  judge_shared_links();
  judge_stdin();
  judge_cycles();
}

void LinkReader::judge_lonely() {
  if (stages_.size() < 2) return;
  std::vector<bool> linked(stages_.size());
  for (const FileLink& link : links_) linked[link.from] = linked[link.to] = true;
  for (std::size_t i = 0; i < stages_.size(); ++i)
    if (!linked[i])
      mistakes_.add(stages_[i].place,
                    fmt::format("no link leads to or from stage '{}'; link it, {} -> STAGE, or leave it out",
                                stages_[i].name, stages_[i].name));
}

void LinkReader::judge_share() {
  std::vector<std::size_t> leaving(stages_.size());
  for (const FileLink& link : links_) leaving[link.from] += link.of_errors ? 0 : 1;
  for (std::size_t i = 0; i < stages_.size(); ++i)
    if (stages_[i].share && leaving[i] < 2)
      mistakes_.add(
          stages_[i].keys.find("share")->second,
          fmt::format("'share' has nothing to share between: {} leaves stage '{}'; leave it out, or add a link",
                      leaving[i] == 0 ? "no link" : "one link", stages_[i].name));
}

void LinkReader::judge_shared_links() {
  for (const FileLink& link : links_)
    if (stages_[link.from].share && !link.of_errors && link.slow.kind != SlowPolicy::Kind::block)
      mistakes_.add(
          link.place,
          fmt::format("'slow' means nothing where stage '{}' shares its records: a slow reader is given fewer; "
                      "leave it out",
                      stages_[link.from].name));
}

void LinkReader::judge_stdin() {
  std::vector<bool> follows(stages_.size());
  for (const FileLink& link : links_) follows[link.to] = true;
  const FileStage* first = nullptr;
  for (std::size_t i = 0; i < stages_.size(); ++i) {
    const FileStage& stage = stages_[i];
    if (!stage.reads_stdin) continue;
    TextPlace place = stage.keys.find("stdin")->second;
    if (follows[i])
      mistakes_.add(place,
                    fmt::format("stage '{}' reads what its links bring; 'stdin' is for a stage that no link leads to",
                                stage.name));
    else if (first != nullptr)
      mistakes_.add(place, fmt::format("stage '{}' reads stdin already; one stage does", first->name));
    first = &stage;
  }
}

void LinkReader::judge_cycles() {
  std::vector<Link> links;
  std::vector<std::size_t> numbers;  // of those that fill up: one that spills takes what comes
  for (std::size_t i = 0; i < links_.size(); ++i)
    if (links_[i].slow.kind != SlowPolicy::Kind::spill) {
      links.push_back({links_[i].from, links_[i].to});
      numbers.push_back(i);
    }
  for (const Cycle& cycle : find_cycles(stages_.size(), links))
    mistakes_.add(
        links_[numbers[cycle.closing_link]].place,
        fmt::format("the links go round in a cycle: {}; its stages could all wait for each other, so one of its "
                    "links must spill: {{ link: {} -> {}, slow: {{ spill: 100M }} }}",
                    cycle_text(cycle.stages, stages_), stages_[cycle.stages.back()].name,
                    stages_[cycle.stages.front()].name));
}

}  // namespace sluice::flow
