#include "flow/placement.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <numeric>

#include "base/require.h"
#include "base/spelling.h"

namespace sluice::flow {
namespace {

std::string list_names(const std::vector<const NodeChoice*>& nodes) {
  std::string list;
  for (const NodeChoice* node : nodes) list += (list.empty() ? "" : " ") + node->name;
  return list;
}

class Placer final {
 public:
  explicit Placer(const PlacementContext& context) : context_(context) {}

  // `left` is that neighbour, whose title is `beside`; null: it has none.
  StagePlace place(const StageNeeds& needs, const StagePlace* left, const std::string& beside) const {
    StagePlace place = place_itself(needs.where, left, beside);
    bool elsewhere = !place.hosts.empty() && place.hosts.front().has_value();
    bool leaves_home = needs.spreads && (needs.where.kind == Whereabouts::Kind::beside_neighbour ||
                                         needs.where.kind == Whereabouts::Kind::label);
    if (place.everywhere && needs.home_here && place.problem.empty())
      place.problem =
          "--dead-letter and --joblog are files of one host, and '@all' has the records of this stage on every one; "
          "leave '@all' out, or the option";
    if (needs.joins) return place_joined(std::move(place), needs, left, beside);
    bool has_workers = needs.workers > 0 && place.problem.empty() && !place.everywhere;
    if (!has_workers || !(leaves_home || (needs.home_here && elsewhere))) return place;
    return seat(std::move(place), needs, left, beside);
  }

 private:
  // All its workers are in seats, wherever those are.
  StagePlace place_joined(StagePlace place, const StageNeeds& needs, const StagePlace* left,
                          const std::string& title) const {
    if (!place.problem.empty()) return place;
    if (place.everywhere || needs.where.kind == Whereabouts::Kind::here)
      place.problem = fmt::format(
          "'{}': the workers that a flow starts for a stage with a role run on nodes of its choice; leave 'on' out, or "
          "name a node",
          place.everywhere ? "on: all" : "on: here");
    if (!place.problem.empty()) return place;
    if (needs.workers > 0) return seat(std::move(place), needs, left, title);
    return needs.home_here ? here("where --dead-letter or --joblog is") : place;
  }

  StagePlace place_itself(const Whereabouts& where, const StagePlace* left, const std::string& title) const {
    switch (where.kind) {
      case Whereabouts::Kind::beside_neighbour:
        return beside(left, title);
      case Whereabouts::Kind::here:
        return here("@here");
      case Whereabouts::Kind::every_node:
        return everywhere();
      case Whereabouts::Kind::node:
        return on_node(where.node);
      case Whereabouts::Kind::label:
        return by_label(where, left);
    }
    return {};
  }

  // `place`: where the stage would be with a single worker.
  StagePlace seat(StagePlace place, const StageNeeds& needs, const StagePlace* left, const std::string& title) const {
    bool alone = !needs.spreads && !(needs.joins && needs.where.kind == Whereabouts::Kind::beside_neighbour);
    bool chosen = needs.where.kind == Whereabouts::Kind::node || alone;
    StagePlace home = needs.home_here ? here("@here") : beside(left, title);
    if (!home.problem.empty()) return home;
    if (chosen) {
      place.seats = {{.host = place.hosts.front(), .workers = needs.workers}};
    } else {
      place.seats = share(needs);
      place.reason = needs.where.labels.empty() ? "by free cores" : place.reason + ", by free cores";
      place.place = describe(place.seats);
    }
    place.hosts = home.hosts;
    place.runs_again = needs.runs_again;
    if (needs.joins) return place;
    if (place.seats.size() == 1 && place.seats.front().host == place.hosts.front()) place.seats.clear();
    return place;
  }

  // One after the other, each to the node that has most left; the first by name among equals.
  std::vector<SeatChoice> share(const StageNeeds& needs) const {
    std::vector<SeatChoice> seats;
    std::vector<double> left;
    for (const NodeChoice& node : context_.nodes) {
      if (!has_labels(node, needs.where.labels)) continue;
      seats.push_back({.host = node.id});
      left.push_back(node.free_cores);
    }
    for (std::uint32_t worker = 0; worker < needs.workers; ++worker) {
      auto best = static_cast<std::size_t>(std::ranges::max_element(left) - left.begin());
      left[best] -= 1;
      ++seats[best].workers;
    }
    std::erase_if(seats, [](const SeatChoice& seat) { return seat.workers == 0; });
    return seats;
  }

  std::string describe(const std::vector<SeatChoice>& seats) const {
    std::string text;
    for (const SeatChoice& seat : seats)
      for (const NodeChoice& node : context_.nodes)
        if (seat.host == Host(node.id))
          text += fmt::format("{}{}:{}", text.empty() ? "" : " ", node.name, seat.workers);
    return text;
  }

  static StagePlace here(std::string reason) {
    return {.hosts = {Host()}, .place = "here", .reason = std::move(reason)};
  }

  static StagePlace on(const NodeChoice& node, std::string reason) {
    return {.hosts = {Host(node.id)}, .place = node.name, .reason = std::move(reason)};
  }

  StagePlace beside(const StagePlace* left, const std::string& title) const {
    if (left != nullptr && !left->seats.empty()) return with_records_of(*left, title);
    if (left == nullptr) return here("beside the client");
    if (left->everywhere) return here("gets the merged lines of " + title);
    StagePlace place = *left;
    place.reason = "beside " + title;
    place.problem.clear();
    return place;
  }

  // The answers of a stage of many workers are gathered at its home.
  StagePlace with_records_of(const StagePlace& left, const std::string& title) const {
    std::string reason = fmt::format("where the answers of {} come together", title);
    if (!left.hosts.front()) return here(reason);
    for (const NodeChoice& node : context_.nodes)
      if (left.hosts.front() == Host(node.id)) return on(node, reason);
    return here("beside the client");
  }

  StagePlace everywhere() const {
    StagePlace place{.reason = "@all", .everywhere = true};
    if (context_.nodes.empty()) place.problem = "'@all': no node is alive";
    for (const NodeChoice& node : context_.nodes) {
      place.hosts.emplace_back(node.id);
      place.place += (place.place.empty() ? "" : " ") + node.name;
    }
    return place;
  }

  StagePlace on_node(const std::string& wanted) const {
    std::vector<const NodeChoice*> found;
    for (const NodeChoice& node : context_.nodes)
      if (node.name == wanted) found.push_back(&node);
    if (found.empty())
      for (const NodeChoice& node : context_.nodes)
        if (is_id_prefix(wanted) && node.id.text().starts_with(wanted)) found.push_back(&node);
    if (found.size() == 1) return on(*found[0], "@" + wanted);
    StagePlace place{.place = wanted, .reason = "@" + wanted};
    place.problem = found.empty() ? no_such_node(wanted) : ambiguous(wanted, found);
    return place;
  }

  // Shorter ones are more likely a name that was mistyped.
  static bool is_id_prefix(const std::string& text) {
    return text.size() >= 4 && text.find_first_not_of("0123456789abcdef") == std::string::npos;
  }

  std::string no_such_node(const std::string& wanted) const {
    std::vector<std::string> names;
    for (const NodeChoice& node : context_.nodes) names.push_back(node.name);
    if (auto gone = context_.gone.find(wanted); gone != context_.gone.end())
      return fmt::format("the node '{}' {}; those that are alive: {}", wanted, gone->second, fmt::join(names, " "));
    return fmt::format(
        "no node '{}' is alive, and '@{}' is no other @ word{}; nodes: {}; words: @x8 @NODE @on=NODE "
        "@KEY=VALUE {}; for a command of that name write '\\@{}'",
        wanted, wanted, did_you_mean_word("@" + wanted, names), fmt::join(names, " "),
        fmt::join(plain_stage_words(), " "), wanted);
  }

  static std::string ambiguous(const std::string& wanted, const std::vector<const NodeChoice*>& found) {
    std::string message = fmt::format("'{}' names several nodes; say which by its id:", wanted);
    for (const NodeChoice* node : found) message += fmt::format(" {} ({})", node->id.text(), node->name);
    return message;
  }

  // Where the data is already, else the node that was asked, else the first by name.
  StagePlace by_label(const Whereabouts& where, const StagePlace* left) const {
    std::string labels;
    for (const auto& [key, value] : where.labels)
      labels += fmt::format("{}@{}={}", labels.empty() ? "" : " ", key, value);
    std::vector<const NodeChoice*> found;
    for (const NodeChoice& node : context_.nodes)
      if (has_labels(node, where.labels)) found.push_back(&node);
    if (found.empty()) {
      StagePlace place{.place = "?", .reason = labels};
      place.problem = fmt::format("no node that is alive has the label {}; `sluice nodes` shows the labels", labels);
      return place;
    }
    const NodeChoice* chosen = found[0];
    for (const NodeChoice* node : found)
      if (node->id == context_.home) chosen = node;
    for (const NodeChoice* node : found)
      if (left != nullptr && left->hosts.size() == 1 && left->hosts[0] == Host(node->id)) chosen = node;
    return on(*chosen, found.size() == 1 ? labels : fmt::format("{}, of {}", labels, list_names(found)));
  }

  static bool has_labels(const NodeChoice& node, const std::vector<std::pair<std::string, std::string>>& labels) {
    return std::ranges::all_of(labels, [&](const auto& label) {
      auto found = node.labels.find(label.first);
      return found != node.labels.end() && found->second == label.second;
    });
  }

  const PlacementContext& context_;
};

class PartMaker final {
 public:
  PartMaker(const FlowGraph& graph, const std::vector<StagePlace>& places, const PartOptions& options)
      : flow_(graph), places_(places), ends_(ends_of(graph)), parts_of_(places.size()), group_(places.size()) {
    std::iota(group_.begin(), group_.end(), std::size_t{0});
    if (places_[ends_.reads_stdin.value_or(0)].everywhere) ends_.reads_stdin.reset();
    if (ends_.reads_stdin && !is_here(*ends_.reads_stdin) && !options.client_input) ends_.reads_stdin.reset();
    if (!options.client_output) ends_.write_stdout.clear();
  }

  PartGraph make() {
    join_neighbours();
    bool reads_elsewhere = ends_.reads_stdin && !is_here(*ends_.reads_stdin);
    if (reads_elsewhere) client_input_ = add({.host = {}, .stages = {}});
    for (std::size_t stage = 0; stage < places_.size(); ++stage) add_stage(stage);
    if (ends_.reads_stdin && !reads_elsewhere) part_with(*ends_.reads_stdin).reads_stdin = ends_.reads_stdin;
    lead_to_stdout();
    return std::move(graph_);
  }

 private:
  bool is_here(std::size_t stage) const { return !places_[stage].everywhere && !places_[stage].hosts[0]; }
  Part& part_with(std::size_t stage) { return graph_.parts[parts_of_[stage].front()]; }

  std::size_t group_of(std::size_t stage) {
    while (group_[stage] != stage) stage = group_[stage] = group_[group_[stage]];
    return stage;
  }
  // The first of them stands for a group.
  void unite(std::size_t one, std::size_t other) {
    std::size_t a = group_of(one), b = group_of(other);
    group_[std::max(a, b)] = std::min(a, b);
  }

  bool is_inner(const Link& link) const {
    const auto &from = places_[link.from].hosts, &to = places_[link.to].hosts;
    return from.size() == 1 && to.size() == 1 && from[0] == to[0];
  }

  // Several outputs of the flow are merged beside the client, with those of the stages that are there.
  void join_neighbours() {
    for (const Link& link : flow_.links)
      if (is_inner(link)) unite(link.from, link.to);
    std::optional<std::size_t> first;
    for (std::size_t stage : ends_.write_stdout) {
      if (!is_here(stage)) continue;
      if (first) unite(*first, stage);
      first = stage;
    }
  }

  void add_stage(std::size_t stage) {
    const StagePlace& place = places_[stage];
    if (std::size_t group = group_of(stage); group != stage) {
      parts_of_[stage] = parts_of_[group];
      part_with(stage).stages.push_back(stage);
    } else {
      for (const Host& host : place.hosts) parts_of_[stage].push_back(add({.host = host, .stages = {stage}}));
    }
    if (client_input_ && ends_.reads_stdin == stage) connect({.to = stage}, {*client_input_}, parts_of_[stage]);
    for (std::size_t i = 0; i < flow_.links.size(); ++i) {
      const Link& link = flow_.links[i];
      if (link.to != stage) continue;
      if (is_inner(link))
        part_with(stage).inner_links.push_back(i);
      else
        connect({.link = i, .from = link.from, .to = stage}, parts_of_[link.from], parts_of_[stage]);
    }
    add_seats(place, stage, parts_of_[stage].front());
  }

  void lead_to_stdout() {
    std::optional<std::size_t> sink;
    for (std::size_t stage : ends_.write_stdout) {
      if (!is_here(stage)) continue;
      sink = parts_of_[stage].front();
      graph_.parts[*sink].write_stdout.push_back(stage);
    }
    for (std::size_t stage : ends_.write_stdout) {
      if (is_here(stage)) continue;
      if (!sink) sink = add({.host = {}, .stages = {}});
      connect({.from = stage}, parts_of_[stage], {*sink});
    }
  }

  void add_seats(const StagePlace& place, std::size_t stage, std::size_t home) {
    for (const SeatChoice& choice : place.seats) {
      std::size_t part = add({.host = choice.host, .stages = {}, .seats_of = stage, .runs_again = place.runs_again});
      for (std::uint32_t worker = 0; worker < choice.workers; ++worker) {
        Seat seat{.stage = stage, .requests = graph_.links.size(), .replies = graph_.links.size() + 1};
        graph_.links.push_back({.from = home, .to = part, .of_seat = true});
        graph_.links.push_back({.from = part, .to = home, .of_seat = true});
        graph_.parts[home].seats.push_back(seat);
        graph_.parts[part].seats.push_back(seat);
      }
    }
  }

  std::size_t add(Part part) {
    graph_.parts.push_back(std::move(part));
    return graph_.parts.size() - 1;
  }

  // Each of the parts that write with each that reads.
  void connect(const PartStream& stream, const std::vector<std::size_t>& writers,
               const std::vector<std::size_t>& readers) {
    for (std::size_t from : writers) graph_.parts[from].outputs.push_back(stream);
    for (std::size_t to : readers) {
      graph_.parts[to].inputs.push_back(stream);
      for (std::size_t from : writers) {
        graph_.parts[from].outputs.back().links.push_back(graph_.links.size());
        graph_.parts[to].inputs.back().links.push_back(graph_.links.size());
        graph_.links.push_back({from, to});
      }
    }
  }

  const FlowGraph& flow_;
  const std::vector<StagePlace>& places_;
  FlowEnds ends_;
  PartGraph graph_;
  std::vector<std::vector<std::size_t>> parts_of_;  // of each stage: several of @all
  std::vector<std::size_t> group_;                  // stages that links on one host join
  std::optional<std::size_t> client_input_;
};

}  // namespace

std::vector<StagePlace> place_stages(const FlowGraph& graph, const std::vector<StageNeeds>& wanted,
                                     const PlacementContext& context) {
  REQUIRE(graph.stages.size() == wanted.size());
  Placer placer(context);
  std::vector<StagePlace> places;
  places.reserve(wanted.size());
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    auto left = left_neighbour(graph, i);
    places.push_back(placer.place(wanted[i], left ? &places[*left] : nullptr,
                                  left ? title_of_stage(graph.stages[*left].name, *left) : ""));
  }
  return places;
}

PartGraph make_parts(const FlowGraph& graph, const std::vector<StagePlace>& places, const PartOptions& options) {
  REQUIRE(!places.empty());
  REQUIRE(places.size() == graph.stages.size());
  for (const StagePlace& place : places) REQUIRE(place.problem.empty() && !place.hosts.empty());
  return PartMaker(graph, places, options).make();
}

}  // namespace sluice::flow
