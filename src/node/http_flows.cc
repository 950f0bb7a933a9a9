#include "node/http_flows.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <map>
#include <utility>

#include "base/pipe.h"
#include "exec/program_lookup.h"
#include "flow/pipeline_text.h"
#include "flow/shell.h"
#include "node/condition.h"
#include "node/flow_messages.h"
#include "node/part_host.h"
#include "sluice/v1/flows.pb.h"

namespace sluice::node {

namespace asio = net::asio;
using net::Awaitable;

namespace {

constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t kErrorTailMax = 4096;  // of the stages' stderr, for the message when the flow fails
constexpr std::uint64_t kGraceMs = 2000;

rpc::Status outcome_of(const v1::FlowEnded& ended) {
  switch (ended.end()) {
    case v1::FlowEnded::END_COMPLETED:
      return {};
    case v1::FlowEnded::END_TIMED_OUT:
      return {rpc::Code::deadline_exceeded, "the flow timed out; every stage was ended"};
    case v1::FlowEnded::END_SIGNALLED:
      return {rpc::Code::cancelled, "the flow was stopped"};
    case v1::FlowEnded::END_NOT_STARTED:
      return {rpc::Code::failed_precondition, ended.message()};
    default:
      return {rpc::Code::aborted, ended.message()};
  }
}

// The client's side of one flow: hosts its stdin and stdout, which are pipes to the HTTP connection.
class HttpFlow final : public FlowClient, public PartSurroundings, public std::enable_shared_from_this<HttpFlow> {
 public:
  HttpFlow(NodeCore core, link::DataLoops& loops, std::string socket)
      : core_(core),
        loops_(loops),
        socket_(std::move(socket)),
        input_(core.executor),
        output_(core.executor),
        changed_(core.executor) {}

  std::expected<void, std::string> make_pipes() {
    auto in = make_pipe(), out = make_pipe();
    if (!in || !out) return std::unexpected(std::strerror(in ? out.error() : in.error()));
    flow_input_ = std::move(in->read_end);
    input_.assign(in->write_end.release());
    flow_output_ = std::move(out->write_end);
    output_.assign(out->read_end.release());
    return {};
  }
  void set_flow(std::shared_ptr<FlowOrchestrator> flow) { flow_ = std::move(flow); }

  // --- FlowClient -------------------------------------------------------------------------------------------------

  void send(v1::RunOutput output) override {
    if (output.has_host()) {
      host(output.host().part()).on_command(output.host().command());
    } else if (output.has_error_output()) {
      errors_ += output.error_output().bytes();
      if (errors_.size() > kErrorTailMax) errors_.erase(0, errors_.size() - kErrorTailMax);
    } else if (output.has_ended()) {
      ended_ = output.ended();
    }
  }
  Awaitable<void> room() override { co_return; }

  void on_end() {
    over_ = true;
    for (auto& [part, host] : hosts_) host->abandon();
    // Whoever reads stdout now gets what is in the pipe, then its end.
    flow_output_.reset();
    flow_input_.reset();
    changed_.notify();
  }

  // --- PartSurroundings -------------------------------------------------------------------------------------------

  asio::any_io_executor executor() override { return core_.executor; }
  Logger& log() override { return core_.log; }
  link::DataLoops& loops() override { return loops_; }
  LinkRegistry* registry() override { return nullptr; }
  Awaitable<std::expected<net::Connection::Parts, net::NetError>> dial(LinkAddress, link::LinkClaim claim,
                                                                       TimePoint deadline) override {
    LinkAddress here{.socket = socket_};
    return dial_link(std::move(here), claim, nullptr, deadline);
  }
  std::expected<std::unique_ptr<SpawnerUse>, std::string> spawner() override {
    return std::unexpected("an HTTP client runs no stage");
  }
  exec::Environment environment() override { return {}; }
  bool is_client() const override { return true; }
  int own_input() const override { return flow_input_.get(); }
  int own_output() const override { return flow_output_.get(); }
  int process_group() const override { return 0; }
  std::optional<exec::RunAs> run_as() const override { return std::nullopt; }
  std::expected<std::string, std::string> make_folder() override { return std::string(); }
  void remove_folder(const std::string&) override {}
  std::expected<std::string, std::string> keep_folder(const std::string&, std::uint32_t, const std::string&) override {
    return std::unexpected("an HTTP client keeps nothing");
  }

  // --- for the door -----------------------------------------------------------------------------------------------

  Awaitable<std::expected<void, rpc::Status>> write_input(std::span<const std::byte> bytes) {
    auto [error, size] = co_await asio::async_write(input_, asio::buffer(bytes.data(), bytes.size()), kTuple);
    if (error) co_return std::unexpected(rpc::Status{rpc::Code::aborted, "the flow reads no more"});
    co_return std::expected<void, rpc::Status>();
  }
  void close_input() {
    boost::system::error_code ignored;
    input_.close(ignored);
  }
  Awaitable<std::size_t> read_output(std::span<std::byte> into) {
    auto [error, size] = co_await output_.async_read_some(asio::buffer(into.data(), into.size()), kTuple);
    co_return error ? 0 : size;
  }
  Awaitable<api::FlowResult> finish() {
    while (!over_) co_await changed_.wait();
    for (auto& [part, host] : hosts_) co_await host->finished();
    api::FlowResult result{.exit_status = ended_.status(), .outcome = outcome_of(ended_)};
    if (!errors_.empty() && ended_.status() != 0)
      result.outcome.message += (result.outcome.message.empty() ? "" : ": ") + errors_;
    co_return result;
  }
  void cancel() {
    if (flow_ && !over_) flow_->on_client_lost();
    close_input();
    boost::system::error_code ignored;
    output_.close(ignored);
  }

 private:
  PartHost& host(std::uint32_t part) {
    auto& host = hosts_[part];
    if (!host)
      host = std::make_unique<PartHost>(
          *this,
          [this](v1::HostEvent event) {
            v1::RunInput input;
            *input.mutable_host_event() = std::move(event);
            if (flow_) flow_->on_input(std::move(input));
          },
          [this]() -> Awaitable<void> { return room(); });
    return *host;
  }

  NodeCore core_;
  link::DataLoops& loops_;
  std::string socket_;
  asio::posix::stream_descriptor input_, output_;  // our ends
  UniqueFd flow_input_, flow_output_;              // the flow's
  Condition changed_;
  std::shared_ptr<FlowOrchestrator> flow_;
  std::map<std::uint32_t, std::unique_ptr<PartHost>> hosts_;
  v1::FlowEnded ended_;
  std::string errors_;
  bool over_ = false;
};

class HttpRunningFlow final : public api::RunningFlow {
 public:
  explicit HttpRunningFlow(std::shared_ptr<HttpFlow> flow) : flow_(std::move(flow)) {}
  Awaitable<std::expected<void, rpc::Status>> write_input(std::span<const std::byte> bytes) override {
    return flow_->write_input(bytes);
  }
  void close_input() override { flow_->close_input(); }
  Awaitable<std::size_t> read_output(std::span<std::byte> into) override { return flow_->read_output(into); }
  Awaitable<api::FlowResult> finish() override { return flow_->finish(); }
  void cancel() override { flow_->cancel(); }

 private:
  std::shared_ptr<HttpFlow> flow_;
};

std::expected<v1::RunStart, std::string> read_text(const api::RunText& text) {
  const char* path = std::getenv("PATH");
  auto shell = flow::find_shell("", path == nullptr ? exec::kDefaultPath : path);
  if (!shell) return std::unexpected(shell.error());
  auto graph = flow::read_pipeline_text(text.pipeline, {.names = {}, .others_too = true}, {});
  if (!graph) return std::unexpected(graph.error());
  v1::RunStart start;
  start.set_text(text.pipeline);
  for (std::size_t i = 0; i < graph->stages.size(); ++i) {
    if (auto reason = flow::not_yet_runnable(graph->stages[i].words)) return std::unexpected(*reason);
    to_message(graph->stages[i], i, *start.add_stages());
  }
  if (!pipefail_from(text.pipefail)) return std::unexpected(fmt::format("pipefail '{}' is unknown", text.pipefail));
  start.set_pipefail(text.pipefail);
  start.set_inner_pipefail(text.pipefail != "last");
  start.set_grace_ms(kGraceMs);
  start.set_client_name("HTTP client");
  if (text.timeout)
    start.set_timeout_ms(static_cast<std::uint64_t>(
        std::max<std::int64_t>(1, std::chrono::duration_cast<std::chrono::milliseconds>(*text.timeout).count())));
  return start;
}

}  // namespace

HttpFlows::HttpFlows(NodeCore core, FlowService& flows, link::DataLoops& loops, std::string socket)
    : core_(core), flows_(flows), loops_(loops), socket_(std::move(socket)) {}

HttpFlows::~HttpFlows() = default;

Awaitable<std::expected<std::unique_ptr<api::RunningFlow>, rpc::Status>> HttpFlows::start(api::RunText text,
                                                                                          rpc::Caller) {
  auto start = read_text(text);
  if (!start) co_return std::unexpected(rpc::Status{rpc::Code::invalid_argument, start.error()});
  auto flow = std::make_shared<HttpFlow>(core_, loops_, socket_);
  if (auto made = flow->make_pipes(); !made)
    co_return std::unexpected(rpc::Status{rpc::Code::resource_exhausted, "cannot make a pipe: " + made.error()});
  auto orchestrator = flows_.run_for(*flow, *start, text.id, [flow] { flow->on_end(); });
  if (!orchestrator) co_return std::unexpected(rpc::Status{rpc::Code::unavailable, "this node is about to leave"});
  flow->set_flow(std::move(orchestrator));
  co_return std::make_unique<HttpRunningFlow>(std::move(flow));
}

}  // namespace sluice::node
