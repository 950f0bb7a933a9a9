#include "sim/membership_checker.h"

#include <fmt/format.h>

#include <algorithm>

namespace sluice::sim {
namespace {

double seconds(TimePoint time) { return std::chrono::duration<double>(time.time_since_epoch()).count() - 3600; }

}  // namespace

MembershipChecker::MembershipChecker(MembershipWorld& world, const Options& options)
    : world_(world), options_(options) {
  network_whole_since_ = world.now();
  on_fault(world);
  world.observe(*this);
}

void MembershipChecker::on_fault(MembershipWorld& world) {
  TimePoint now = world.now();
  truth_.resize(world.size());
  revisions_.resize(world.size());
  for (NodeIndex node = 0; node < world.size(); ++node) {
    Truth& truth = truth_[node];
    ProcessState state = world.state(node);
    bool running = state == ProcessState::running || state == ProcessState::paused;
    if (truth.life != world.life(node)) forget_view(node);
    if (truth.state == state && truth.life == world.life(node)) continue;
    if (!running) truth.ended = now;
    truth.state = state;
    truth.life = world.life(node);
    truth.healthy_since = now;
  }
  if (network_whole_ != world.network().whole()) network_whole_since_ = now;
  network_whole_ = world.network().whole();
}

void MembershipChecker::forget_view(NodeIndex observer) {
  revisions_[observer].clear();
  std::erase_if(missing_, [&](const auto& entry) { return entry.first.first == observer; });
}

void MembershipChecker::on_event(MembershipWorld& world, NodeIndex observer, const cluster::MembershipEvent& event) {
  if (const auto* join = std::get_if<cluster::MemberJoined>(&event.what)) joined(world, observer, join->member);
  if (const auto* lost = std::get_if<cluster::MemberLost>(&event.what)) gone(world, observer, lost->member, false);
  if (const auto* left = std::get_if<cluster::MemberLeft>(&event.what)) gone(world, observer, left->member, true);
  if (const auto* change = std::get_if<cluster::MemberChanged>(&event.what))
    if (auto subject = world.index_of(change->member.id)) check_revision(observer, *subject, change->member);
  if (const auto* suspicion = std::get_if<cluster::MemberSuspected>(&event.what)) {
    auto subject = world.index_of(suspicion->member.id);
    // One suspicion is counted once, where it began.
    if (subject && suspicion->accuser == world.id(observer) && both_healthy(world, observer, *subject))
      ++false_suspicions_;
  }
}

void MembershipChecker::joined(MembershipWorld& world, NodeIndex observer, const cluster::Member& member) {
  auto subject = world.index_of(member.id);
  if (!subject) return violations_.add(fmt::format("node {} imagines a member {}", observer, member.id.text()));
  const Truth& truth = truth_[*subject];
  bool ended = truth.state != ProcessState::running && truth.state != ProcessState::paused;
  if (ended && world.now() - truth.ended > options_.resurrection_max)
    violations_.add(fmt::format("at {:.3f} s node {} sees node {} join, which ended at {:.3f} s", seconds(world.now()),
                                observer, *subject, seconds(truth.ended)));
  check_revision(observer, *subject, member);
  missing_.erase({observer, *subject});
}

void MembershipChecker::gone(MembershipWorld& world, NodeIndex observer, const cluster::Member& member,
                             bool by_itself) {
  auto subject = world.index_of(member.id);
  if (!subject)
    return violations_.add(fmt::format("node {} loses a member {} that never was", observer, member.id.text()));
  check_revision(observer, *subject, member);
  if (by_itself || member.reason == cluster::LossReason::restarted || !both_healthy(world, observer, *subject)) return;
  ++false_deaths_;
  missing_.try_emplace({observer, *subject}, world.now());
}

void MembershipChecker::check_revision(NodeIndex observer, NodeIndex subject, const cluster::Member& member) {
  std::pair revision(member.incarnation, member.instance);
  auto& last = revisions_[observer][subject];
  if (revision < last)
    violations_.add(fmt::format("node {} sees node {} go back from incarnation {} to {}", observer, subject, last.first,
                                revision.first));
  last = revision;
}

bool MembershipChecker::both_healthy(MembershipWorld& world, NodeIndex observer, NodeIndex subject) const {
  auto healthy = [&](NodeIndex node) {
    return truth_[node].state == ProcessState::running && world.now() - truth_[node].healthy_since >= options_.settled;
  };
  return healthy(observer) && healthy(subject) && network_whole_ &&
         world.now() - network_whole_since_ >= options_.settled;
}

const std::vector<std::string>& MembershipChecker::violations() {
  for (const auto& [pair, since] : missing_) {
    if (world_.now() - since <= options_.return_max || !both_healthy(world_, pair.first, pair.second)) continue;
    violations_.add(fmt::format("node {} lost the healthy node {} at {:.3f} s, and has not got it back", pair.first,
                                pair.second, seconds(since)));
  }
  return violations_.list();
}

std::optional<std::string> disagreement(MembershipWorld& world) {
  std::vector<NodeIndex> running = world.running_nodes();
  std::map<NodeId, std::uint64_t> expected;
  for (NodeIndex node : running) expected[world.id(node)] = world.membership(node).find(world.id(node))->incarnation;
  for (NodeIndex node : running) {
    std::size_t seen = 0;
    std::optional<std::string> wrong;
    world.membership(node).visit_present([&](const cluster::Announcement& member, cluster::MemberState) {
      ++seen;
      auto known = expected.find(member.id);
      if (known == expected.end())
        wrong = fmt::format("node {} lists {}, which does not run", node, member.profile.name);
      else if (known->second != member.revision.incarnation)
        wrong = fmt::format("node {} sees {} at incarnation {}, not {}", node, member.profile.name,
                            member.revision.incarnation, known->second);
    });
    if (wrong) return wrong;
    if (seen != expected.size()) return fmt::format("node {} lists {} of {} members", node, seen, expected.size());
  }
  return std::nullopt;
}

bool counts_agree(MembershipWorld& world) {
  std::vector<NodeIndex> running = world.running_nodes();
  return std::ranges::all_of(running,
                             [&](NodeIndex node) { return world.membership(node).present_count() == running.size(); });
}

bool agrees_within(MembershipWorld& world, Duration limit) {
  return world.run_until([&] { return counts_agree(world) && !disagreement(world); }, limit);
}

}  // namespace sluice::sim
