#include "flow/graph_cycles.h"

#include <algorithm>

namespace sluice::flow {
namespace {

constexpr std::size_t kCyclesMax = 100;  // a person reads fewer

// Depth-first search with a stack of its own: a chain may be as long as a file allows.
class CycleSearch final {
 public:
  CycleSearch(std::size_t stages, const std::vector<Link>& links) : links_(links), leaving_(stages), state_(stages) {
    for (std::size_t i = 0; i < links.size(); ++i) leaving_[links[i].from].push_back(i);
  }

  std::vector<Cycle> run() {
    for (std::size_t stage = 0; stage < state_.size(); ++stage)
      if (state_[stage] == State::unseen) descend(stage);
    return std::move(found_);
  }

 private:
  enum class State { unseen, on_path, done };
  struct Step {
    std::size_t stage = 0;
    std::size_t next = 0;  // of the links that leave it
  };

  void enter(std::size_t stage) {
    state_[stage] = State::on_path;
    path_.push_back({stage, 0});
  }

  void descend(std::size_t root) {
    enter(root);
    while (!path_.empty()) {
      Step& step = path_.back();
      if (step.next == leaving_[step.stage].size()) {
        state_[step.stage] = State::done;
        path_.pop_back();
        continue;
      }
      std::size_t link = leaving_[step.stage][step.next++], to = links_[link].to;
      if (state_[to] == State::unseen)
        enter(to);
      else if (state_[to] == State::on_path && found_.size() < kCyclesMax)
        close(to, link);
    }
  }

  void close(std::size_t first, std::size_t link) {
    Cycle cycle{.stages = {}, .closing_link = link};
    auto begin = std::ranges::find(path_, first, &Step::stage);
    for (auto step = begin; step != path_.end(); ++step) cycle.stages.push_back(step->stage);
    found_.push_back(std::move(cycle));
  }

  const std::vector<Link>& links_;
  std::vector<std::vector<std::size_t>> leaving_;
  std::vector<State> state_;
  std::vector<Step> path_;
  std::vector<Cycle> found_;
};

}  // namespace

std::vector<Cycle> find_cycles(std::size_t stages, const std::vector<Link>& links) {
  return CycleSearch(stages, links).run();
}

}  // namespace sluice::flow
