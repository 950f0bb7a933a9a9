#include "flow/flow_rates.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <numeric>
#include <set>
#include <utility>

#include "base/require.h"

namespace sluice::flow {
namespace {

constexpr int kHalf = 50;  // percent

double rate(std::uint64_t before, std::uint64_t after, Duration passed) {
  if (passed <= Duration::zero() || after <= before) return 0;
  return static_cast<double>(after - before) / std::chrono::duration<double>(passed).count();
}

const StageCounters* find(const FlowCounters& flow, std::size_t index) {
  auto found = std::ranges::find(flow.stages, index, &StageCounters::index);
  return found == flow.stages.end() ? nullptr : &*found;
}

const LinkCounters* find(const FlowCounters& flow, const LinkCounters& like) {
  auto found = std::ranges::find_if(flow.links, [&](const LinkCounters& link) {
    return link.from == like.from && link.to == like.to && link.of_errors == like.of_errors;
  });
  return found == flow.links.end() ? nullptr : &*found;
}

std::optional<Shares> shares_of(const std::optional<Activity>& before, const std::optional<Activity>& after) {
  if (!before || !after) return std::nullopt;
  return shares_between(*before, *after);
}

// The same worker, or the one that was started in its place.
const WorkerCounters* find(const StageCounters& stage, const WorkerCounters& like, std::size_t place) {
  if (place >= stage.each_worker.size()) return nullptr;
  const WorkerCounters& worker = stage.each_worker[place];
  return worker.number == like.number && worker.node == like.node ? &worker : nullptr;
}

WorkerRates rates_between(const WorkerCounters& before, const WorkerCounters& after, Duration passed) {
  WorkerRates rates;
  rates.records_in = rate(before.records_in.value_or(0), after.records_in.value_or(0), passed);
  rates.records_out = rate(before.records_out.value_or(0), after.records_out.value_or(0), passed);
  if (after.running) rates.shares = shares_of(before.activity, after.activity);
  return rates;
}

StageRates rates_between(const StageCounters& before, const StageCounters& after, Duration passed) {
  StageRates rates;
  rates.read_bytes = rate(before.read_bytes, after.read_bytes, passed);
  rates.written_bytes = rate(before.written_bytes, after.written_bytes, passed);
  StageRecords from = before.records.value_or(StageRecords()), to = after.records.value_or(StageRecords());
  rates.records_in = rate(from.read, to.read, passed);
  rates.records_out = rate(from.written, to.written, passed);
  if (after.running) rates.shares = shares_of(before.activity, after.activity);
  rates.workers.resize(after.each_worker.size());
  for (std::size_t i = 0; i < rates.workers.size(); ++i)
    if (auto* worker = find(before, after.each_worker[i], i))
      rates.workers[i] = rates_between(*worker, after.each_worker[i], passed);
  return rates;
}

LinkRates rates_between(const LinkCounters& before, const LinkCounters& after, Duration passed) {
  LinkRates rates{.bytes_in = rate(before.bytes.in, after.bytes.in, passed),
                  .bytes_out = rate(before.bytes.out, after.bytes.out, passed),
                  .drops = after.bytes.dropped > before.bytes.dropped};
  LinkCounts from = before.records.value_or(LinkCounts()), to = after.records.value_or(LinkCounts());
  rates.records_in = rate(from.in, to.in, passed);
  rates.records_out = rate(from.out, to.out, passed);
  return rates;
}

// What is left is worked on, and nothing more comes.
bool is_drained(const FlowCounters& flow, const StageCounters& stage) {
  bool fed = false;
  for (const LinkCounters& link : flow.links) {
    if (link.to != stage.index) continue;
    const StageCounters* writer = link.from ? find(flow, *link.from) : nullptr;
    if (writer == nullptr || writer->running) return false;
    fed = true;
  }
  return fed && ((stage.records && stage.records->in_flight > 0) || bytes_on_their_way_to(flow, stage) > 0);
}

// Nobody has to wait for these: all that leads to one drops what it does not take, or comes from another of them.
std::set<std::size_t> stages_that_hold_nobody_back(const FlowCounters& flow, const std::vector<LinkRates>& rates) {
  std::set<std::size_t> harmless;
  for (const LinkCounters& link : flow.links)
    if (link.to) harmless.insert(*link.to);
  // All that something leads to are taken for such, until no link says otherwise.
  for (bool changed = true; changed;) {
    changed = false;
    for (std::size_t i = 0; i < flow.links.size(); ++i) {
      const LinkCounters& link = flow.links[i];
      if (!link.to || rates[i].drops || (link.from && harmless.contains(*link.from))) continue;
      changed = harmless.erase(*link.to) > 0 || changed;
    }
  }
  return harmless;
}

std::optional<Bottleneck> find_bottleneck(const FlowCounters& flow, const std::vector<StageRates>& rates,
                                          const std::vector<LinkRates>& links) {
  for (std::size_t i = flow.stages.size(); i-- > 0;)
    if (lacks_workers(flow, flow.stages[i])) return Bottleneck{Bottleneck::Kind::stage, flow.stages[i].index};
  std::set<std::size_t> harmless = stages_that_hold_nobody_back(flow, links);
  // Whom others may have to wait for comes first, then who is busier.
  auto weight = [&](std::size_t i) {
    return std::pair(!harmless.contains(flow.stages[i].index), rates[i].shares->busy);
  };
  std::optional<std::size_t> first, last, busiest;
  for (std::size_t i = 0; i < rates.size(); ++i) {
    if (!rates[i].shares) continue;
    if (!first) first = i;
    last = i;
    if (!busiest || weight(i) >= weight(*busiest)) busiest = i;
  }
  if (!first) return std::nullopt;
  using Kind = Bottleneck::Kind;
  if (rates[*last].shares->held_back >= kHalf) return Bottleneck{Kind::output, flow.stages[*last].index};
  if (rates[*first].shares->idle >= kHalf && !is_drained(flow, flow.stages[*first]))
    return Bottleneck{Kind::input, flow.stages[*first].index};
  return Bottleneck{Kind::stage, flow.stages[*busiest].index};
}

}  // namespace

bool lacks_workers(const FlowCounters& flow, const StageCounters& stage) {
  return stage.running && stage.workers == 0 && stage.records &&
         (stage.records->waiting > 0 || bytes_on_their_way_to(flow, stage) > 0);
}

std::uint64_t bytes_on_their_way_to(const FlowCounters& flow, const StageCounters& stage) {
  std::uint64_t bytes = 0;
  for (const LinkCounters& link : flow.links)
    if (link.to == stage.index) bytes += link.bytes.in_flight;
  return bytes;
}

// By largest remainders: each share is rounded down, and what is missing to 100 goes to those that lost most.
std::optional<Shares> shares_between(const Activity& before, const Activity& after) {
  auto grown = [](Duration from, Duration to) { return std::max<Duration::rep>((to - from).count(), 0); };
  std::array<Duration::rep, 3> parts = {grown(before.busy, after.busy), grown(before.idle, after.idle),
                                        grown(before.held_back, after.held_back)};
  Duration::rep all = std::accumulate(parts.begin(), parts.end(), Duration::rep{0});
  if (all <= 0) return std::nullopt;
  std::array<int, 3> percent{};
  std::array<std::size_t, 3> order = {0, 1, 2};
  std::array<double, 3> lost{};
  for (std::size_t i = 0; i < parts.size(); ++i) {
    double exact = 100.0 * static_cast<double>(parts[i]) / static_cast<double>(all);
    percent[i] = static_cast<int>(exact);
    lost[i] = exact - percent[i];
  }
  std::ranges::stable_sort(order, std::ranges::greater(), [&](std::size_t i) { return lost[i]; });
  int missing = 100 - std::accumulate(percent.begin(), percent.end(), 0);
  for (std::size_t i = 0; missing > 0; ++i, --missing) ++percent[order[i % order.size()]];
  INVARIANT(percent[0] + percent[1] + percent[2] == 100);
  return Shares{.busy = percent[0], .idle = percent[1], .held_back = percent[2]};
}

FlowReport FlowMeter::on_counters(FlowCounters counters) {
  FlowReport report{.stages = std::vector<StageRates>(counters.stages.size()),
                    .links = std::vector<LinkRates>(counters.links.size())};
  for (std::size_t i = 0; i < counters.stages.size(); ++i)
    report.stages[i].workers.resize(counters.stages[i].each_worker.size());
  if (before_ && counters.at > before_->at) {
    report.interval = counters.at - before_->at;
    for (std::size_t i = 0; i < counters.stages.size(); ++i)
      if (auto* stage = find(*before_, counters.stages[i].index))
        report.stages[i] = rates_between(*stage, counters.stages[i], report.interval);
    for (std::size_t i = 0; i < counters.links.size(); ++i)
      if (auto* link = find(*before_, counters.links[i]))
        report.links[i] = rates_between(*link, counters.links[i], report.interval);
    report.bottleneck = find_bottleneck(counters, report.stages, report.links);
  }
  before_ = counters;
  report.counters = std::move(counters);
  return report;
}

}  // namespace sluice::flow
