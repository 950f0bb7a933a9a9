#include "flow/flow_drawing.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <vector>

#include "flow/quoting.h"

namespace sluice::flow {
namespace {

constexpr std::size_t kCommandColumns = 60;
constexpr std::size_t kWordColumns = 40;
// A branch within a branch is set in further; deeper ones are drawn below, or lines would grow without bounds.
constexpr std::size_t kDepthMax = 24;

std::string link_text(const FileLink& link) {
  std::string text = link.of_errors ? "stderr" : "";
  std::string slow = slow_text(link.slow);
  return text + (text.empty() || slow.empty() ? "" : ", ") + slow;
}

// "worker, @x10, concurrency 10"
std::string properties_of(const FileStage& stage, std::size_t arriving) {
  std::vector<std::string> found;
  if (arriving > 1) found.push_back(fmt::format("of {} links", arriving));
  if (stage.worker) found.emplace_back("worker");
  if (!stage.stage.words.role.empty()) found.push_back("role " + stage.stage.words.role);
  if (stage.reads_stdin) found.emplace_back("stdin");
  for (const std::string& word : stage.stage.words.written) found.push_back(on_one_line(word, kWordColumns));
  if (stage.concurrency) found.push_back(fmt::format("concurrency {}", *stage.concurrency));
  if (stage.records_per_second) found.push_back(fmt::format("{} records/s", *stage.records_per_second));
  if (stage.retries) found.push_back(fmt::format("{} retries", *stage.retries));
  if (stage.restart != Restart::never)
    found.emplace_back(stage.restart == Restart::always ? "restart always" : "restart on failure");
  return fmt::format("{}", fmt::join(found, ", "));
}

std::vector<std::size_t> count_arriving(const FlowFile& file) {
  std::vector<std::size_t> arriving(file.stages.size());
  for (const FileLink& link : file.links) ++arriving[link.to];
  return arriving;
}

// The graph is drawn as a tree, by descending along the links. A stage that several links lead to is drawn at the last
// of them; links that spill are not waited for, since every cycle has one.
class TextDrawing final {
 public:
  explicit TextDrawing(const FlowFile& file)
      : file_(file),
        leaving_(file.stages.size()),
        arriving_(count_arriving(file)),
        awaited_(file.stages.size()),
        drawn_(file.stages.size()) {
    for (const FileLink& link : file.links) {
      leaving_[link.from].push_back(&link);
      if (is_awaited(link)) ++awaited_[link.to];
    }
  }

  std::string draw() {
    for (std::size_t i = 0; i < file_.stages.size(); ++i)
      if (awaited_[i] == 0) below_.push_back(i);
    while (!below_.empty()) {
      std::size_t stage = below_.front();
      below_.pop_front();
      draw_row(stage, "", "", 0);
    }
    return std::move(text_);
  }

 private:
  static bool is_awaited(const FileLink& link) { return link.slow.kind != SlowPolicy::Kind::spill; }

  static std::string arrow(std::string_view branch, const FileLink& link) {
    std::string label = link_text(link);
    return label.empty() ? fmt::format("{}> ", branch) : fmt::format("{} {} -> ", branch, label);
  }

  // A stage, and below it all that follows without a branch. `lead` stands before the first line, `indent` before
  // others.
  void draw_row(std::size_t stage, std::string lead, const std::string& indent, std::size_t depth) {
    for (;;) {
      draw_stage(stage, lead);
      const auto& links = leaving_[stage];
      if (links.size() != 1) return draw_branches(stage, indent, depth);
      const FileLink& link = *links.front();
      lead = indent + arrow("─", link);
      if (!is_last_into(link)) return draw_mention(link, lead);
      stage = link.to;
    }
  }

  void draw_branches(std::size_t stage, const std::string& indent, std::size_t depth) {
    const auto& links = leaving_[stage];
    if (std::ranges::count(links, false, &FileLink::of_errors) > 1)
      text_ += fmt::format("{}│ {}\n", indent, file_.stages[stage].share ? "shares its records between" : "copies to");
    for (const FileLink* link : links) {
      bool last = link == links.back();
      std::string lead = indent + arrow(last ? "└─" : "├─", *link);
      bool here = is_last_into(*link);
      if (here && depth < kDepthMax) {
        draw_row(link->to, lead, indent + (last ? "   " : "│  "), depth + 1);
        continue;
      }
      if (here) below_.push_back(link->to);
      draw_mention(*link, lead);
    }
  }

  void draw_stage(std::size_t stage, const std::string& lead) {
    const FileStage& drawn = file_.stages[stage];
    std::string properties = properties_of(drawn, arriving_[stage]);
    text_ += fmt::format("{}{}{}: {}\n", lead, drawn.name, properties.empty() ? "" : fmt::format(" ({})", properties),
                         on_one_line(drawn.stage.command, kCommandColumns));
    drawn_[stage] = true;
  }

  void draw_mention(const FileLink& link, const std::string& lead) {
    text_ += fmt::format("{}{}, {}\n", lead, file_.stages[link.to].name, drawn_[link.to] ? "above" : "below");
  }

  bool is_last_into(const FileLink& link) { return is_awaited(link) && --awaited_[link.to] == 0; }

  const FlowFile& file_;
  std::vector<std::vector<const FileLink*>> leaving_;
  std::vector<std::size_t> arriving_;
  std::vector<std::size_t> awaited_;  // links into a stage that are not drawn yet
  std::vector<bool> drawn_;
  std::deque<std::size_t> below_;  // stages that begin at the margin
  std::string text_;
};

std::string dot_quoted(std::string_view text) {
  std::string quoted = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    if (c == '\n')
      quoted += "\\n";
    else
      quoted += c;
  }
  return quoted + "\"";
}

std::string dot_link(const FlowFile& file, const FileLink& link) {
  std::vector<std::string> attributes;
  if (std::string label = link_text(link); !label.empty()) attributes.push_back("label=" + dot_quoted(label));
  if (link.of_errors) attributes.emplace_back("style=dashed");
  std::string list = attributes.empty() ? "" : fmt::format(" [{}]", fmt::join(attributes, ", "));
  return fmt::format("  {} -> {}{};\n", dot_quoted(file.stages[link.from].name), dot_quoted(file.stages[link.to].name),
                     list);
}

}  // namespace

std::string draw_as_text(const FlowFile& file) { return TextDrawing(file).draw(); }

std::string draw_as_dot(const FlowFile& file) {
  std::string text = fmt::format("digraph {} {{\n  rankdir=LR;\n  node [shape=box];\n",
                                 dot_quoted(on_one_line(file.name.empty() ? "flow" : file.name, kCommandColumns)));
  for (const FileStage& stage : file.stages) {
    std::string properties = properties_of(stage, 0);
    std::string label = stage.name + (properties.empty() ? "" : "\n" + properties) + "\n" +
                        on_one_line(stage.stage.command, kCommandColumns);
    text += fmt::format("  {} [label={}];\n", dot_quoted(stage.name), dot_quoted(label));
  }
  for (const FileLink& link : file.links) text += dot_link(file, link);
  return text + "}\n";
}

std::string count_of_parts(const FlowFile& file) {
  return fmt::format("{} stage{} and {} link{}", file.stages.size(), file.stages.size() == 1 ? "" : "s",
                     file.links.size(), file.links.size() == 1 ? "" : "s");
}

}  // namespace sluice::flow
