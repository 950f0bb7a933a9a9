#include "node/flow_scaling.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <utility>
#include <vector>

#include "sluice/v1/flows.pb.h"

namespace sluice::node {

using net::Awaitable;

FlowScaling::FlowScaling(net::asio::any_io_executor executor, const FlowLayout& layout)
    : layout_(layout), answered_(std::move(executor)) {}

Awaitable<std::expected<v1::ScaleStageResponse, rpc::Status>> FlowScaling::ask(
    std::string name, std::uint32_t workers, std::function<void(std::shared_ptr<Request>)> hand_over) {
  auto stage = stage_named(name);
  if (!stage)
    co_return std::unexpected(rpc::Status{
        rpc::Code::not_found, fmt::format("the flow has no stage '{}'; its stages are {}", name, list_of_stages())});
  auto request = std::make_shared<Request>();
  request->stage = *stage;
  request->workers = workers;
  hand_over(request);
  while (!request->answer && !ended_) co_await answered_.wait();
  if (!request->answer) co_return std::unexpected(rpc::Status{rpc::Code::failed_precondition, "the flow has ended"});
  if (!request->answer->problem().empty())
    co_return std::unexpected(rpc::Status{
        rpc::Code::failed_precondition,
        fmt::format("{} can't have {} workers: {}", layout_.title_of(*stage), workers, request->answer->problem())});
  v1::ScaleStageResponse response;
  response.set_index(static_cast<std::uint32_t>(*stage));
  response.set_before(request->answer->before());
  co_return response;
}

std::optional<FlowScaling::Order> FlowScaling::begin(const std::shared_ptr<Request>& request,
                                                     const std::function<bool(std::size_t)>& runs) {
  auto has_it = [&](const flow::Part& part) {
    return std::ranges::find(part.stages, request->stage) != part.stages.end();
  };
  const std::vector<flow::Part>& all = layout_.graph().parts;
  auto found = std::ranges::find_if(all, has_it);
  auto part = static_cast<std::size_t>(found - all.begin());
  if (found == all.end() || !runs(part)) {
    refuse(*request, "it does not run");
    return std::nullopt;
  }
  if (std::find_if(found + 1, all.end(), has_it) != all.end()) {
    refuse(*request, "it has one worker on each node (@all)");
    return std::nullopt;
  }
  Order order{.part = part, .command = {}};
  v1::SetWorkers& wanted = *order.command.mutable_set_workers();
  wanted.set_stage(static_cast<std::uint32_t>(request->stage));
  wanted.set_workers(request->workers);
  wanted.set_request(++last_);
  open_.emplace(last_, request);
  return order;
}

void FlowScaling::on_answer(v1::WorkersSet answer) {
  auto request = open_.extract(answer.request());
  if (request.empty()) return;
  request.mapped()->answer = std::move(answer);
  answered_.notify();
}

void FlowScaling::on_end() {
  ended_ = true;
  answered_.notify();
}

void FlowScaling::refuse(Request& request, const std::string& why) {
  request.answer.emplace().set_problem(why);
  answered_.notify();
}

std::optional<std::size_t> FlowScaling::stage_named(const std::string& name) const {
  std::vector<std::string> names = layout_.stage_names();
  if (auto named = std::ranges::find(names, name); !name.empty() && named != names.end())
    return static_cast<std::size_t>(named - names.begin());
  std::size_t number = 0;
  auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  bool is_number = error == std::errc() && end == name.data() + name.size();
  if (is_number && number >= 1 && number <= layout_.stage_count()) return number - 1;
  return std::nullopt;
}

std::string FlowScaling::list_of_stages() const {
  std::vector<std::string> names = layout_.stage_names();
  bool named = std::ranges::none_of(names, &std::string::empty);
  return named ? fmt::format("{}", fmt::join(names, ", ")) : fmt::format("1 to {}", layout_.stage_count());
}

}  // namespace sluice::node
