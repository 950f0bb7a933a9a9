#include "node/part_host.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <utility>
#include <vector>

#include "base/pipe.h"
#include "base/require.h"
#include "exec/program_lookup.h"
#include "flow/quoting.h"
#include "flow/resolve.h"
#include "flow/shell.h"
#include "link/byte_link.h"
#include "link/line_merge.h"
#include "node/condition.h"
#include "node/flow_messages.h"
#include "node/task_group.h"
#include "sluice/v1/host.pb.h"

namespace sluice::node {
namespace {

namespace asio = net::asio;
using net::Awaitable;
constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);

constexpr std::chrono::seconds kConnectTime{20};
constexpr std::chrono::seconds kDialTime{3};                     // then the other end dials, or somebody relays
constexpr unsigned kClientTries = 3;                             // to a client nobody can dial: it tries again itself
constexpr std::size_t kErrorOutputSize = std::size_t{32} << 10;  // of one message
constexpr int kRefusedStatus = 125;

UniqueFd duplicate(int fd) { return UniqueFd(::fcntl(fd, F_DUPFD_CLOEXEC, 3)); }

std::optional<link::LinkClaim> claim_from(const v1::LinkEnd& end, link::Side dialler) {
  link::LinkClaim claim{.generation = end.generation(), .side = dialler};
  if (end.link_id().size() != claim.link.bytes.size() || end.token().size() != claim.token.size()) return std::nullopt;
  std::copy(end.link_id().begin(), end.link_id().end(), claim.link.bytes.begin());
  std::copy(end.token().begin(), end.token().end(), claim.token.begin());
  return claim;
}

struct LinkState {
  v1::LinkEnd end;
  bool is_input = false;
  bool expected = false;                        // it may be the other end that dials
  std::optional<net::Connection::Parts> parts;  // connected, and not pumping yet
  std::optional<link::ByteLink> pump;
  bool over = false;
};

}  // namespace

struct PartHost::Impl : std::enable_shared_from_this<Impl> {
  enum class State { idle, prepared, connected, started, over };

  Impl(PartSurroundings& around, Emit emit_event, Room wait_room)
      : surroundings(around),
        emit_to(std::move(emit_event)),
        room(std::move(wait_room)),
        tasks(around.executor(), around.log()),
        changed(around.executor()) {}

  PartSurroundings& surroundings;
  Emit emit_to;
  Room room;
  TaskGroup tasks;
  Condition changed;
  State state = State::idle;
  v1::Prepare prepare_message;
  std::vector<exec::Program> programs;
  std::vector<LinkState> links;  // the inputs in order, then the output
  std::unique_ptr<SpawnerUse> spawner;
  std::unique_ptr<link::LineMerge> merge;
  std::string folder;     // to be removed in the end
  std::string directory;  // where the stages work: `folder`, or below it
  bool abandoned = false;
  bool links_given_up = false;
  bool detached = false;  // some process may go on
  bool failed = false;
  bool programs_over = true;  // none was started, or none is left
  bool letting_go = false;
  asio::posix::stream_descriptor* spawner_watch = nullptr;

  // --- talking to the orchestrator --------------------------------------------------------------------------------

  void emit(v1::HostEvent event) {
    if (abandoned) return;
    event.set_part(prepare_message.part());
    emit_to(std::move(event));
  }

  void fail(int status, const std::string& message, int stage = -1) {
    if (failed || state == State::over) return;
    failed = true;
    v1::HostEvent event;
    event.mutable_failed()->set_status(status);
    event.mutable_failed()->set_message(message);
    event.mutable_failed()->set_stage(stage);
    emit(std::move(event));
    give_up(true, message);
  }

  bool has_stages() const { return !prepare_message.stages().empty(); }

  // --- preparing --------------------------------------------------------------------------------------------------

  void prepare(const v1::Prepare& prepare) {
    if (state != State::idle) return;
    prepare_message = prepare;
    state = State::prepared;
    if (prepare.files().empty() || prepare.look_only()) return finish_preparing();
    tasks.spawn(take_files(shared_from_this()));
  }

  static Awaitable<void> take_files(std::shared_ptr<Impl> self) {
    v1::Prepare wanted = self->prepare_message;
    auto laid = co_await self->surroundings.lay_files(std::move(wanted));
    if (self->state == State::over || self->failed) {
      if (laid) self->surroundings.remove_folder(laid->root);
      co_return;
    }
    if (!laid) co_return self->fail(kRefusedStatus, "cannot take over a file: " + laid.error());
    self->folder = laid->root;
    self->directory = laid->directory;
    self->finish_preparing();
  }

  void finish_preparing() {
    const v1::Prepare& prepare = prepare_message;
    v1::HostEvent event;
    v1::Prepared& prepared = *event.mutable_prepared();
    if (auto resolved = resolve(prepared); !resolved) return fail(kRefusedStatus, resolved.error());
    if (!prepare.look_only())
      if (auto expected = take_links(); !expected) return fail(kRefusedStatus, expected.error());
    emit(std::move(event));
    if (prepare.look_only()) give_up(true);
  }

  exec::Environment environment() {
    exec::Environment environment = surroundings.environment();
    for (const auto& [name, value] : prepare_message.environment()) environment.set(name, value);
    return environment;
  }

  std::expected<void, std::string> resolve(v1::Prepared& prepared) {
    if (!has_stages()) return {};
    exec::Environment variables = environment();
    auto shell = flow::find_shell(prepare_message.shell(), variables.get("PATH").value_or(exec::kDefaultPath));
    if (!shell) return std::unexpected(shell.error());
    flow::PlanContext context{
        .shell = std::move(*shell), .environment = variables, .inner_pipefail = prepare_message.inner_pipefail()};
    if (!surroundings.is_client()) context.directory = directory;
    flow::Resolver resolver(context);
    for (const v1::StageText& text : prepare_message.stages()) {
      auto stage = stage_from(text);
      if (!stage) return std::unexpected("a stage without a command");
      flow::ResolvedStage resolved = resolver.resolve(*stage, text.index());
      if (prepare_message.look_only()) allow_for_files(*stage, text.index(), resolved);
      v1::StageHow& how = *prepared.add_stages();
      how.set_index(text.index());
      how.set_how(resolved.how);
      if (resolved.problem) {
        how.set_problem(resolved.problem->message);
        how.set_problem_status(resolved.problem->status);
      }
      programs.push_back(std::move(resolved.program));
    }
    return {};
  }

  // A look takes no files over: what will be there then is known.
  void allow_for_files(const flow::Stage& stage, std::size_t index, flow::ResolvedStage& resolved) const {
    if (!resolved.problem || !stage.plain_words) return;
    const std::string& name = stage.plain_words->front();
    std::string path = std::filesystem::path(name).lexically_normal();
    auto file = std::ranges::find(prepare_message.files(), path, &v1::ShippedFile::path);
    if (file == prepare_message.files().end()) return;
    resolved.how = "exec " + name;
    resolved.problem.reset();
    if (!file->executable())
      resolved.problem = flow::PlanProblem{
          index, 126,
          fmt::format("stage {}: {}: found, but it may not be executed; nothing was started", index + 1, name)};
  }

  std::expected<void, std::string> take_links() {
    for (const v1::LinkEnd& end : prepare_message.inputs()) links.push_back({.end = end, .is_input = true});
    if (prepare_message.has_output()) links.push_back({.end = prepare_message.output()});
    for (std::size_t i = 0; i < links.size(); ++i) {
      links[i].expected = expect(i);
      if (links[i].end.how() == v1::LinkEnd::HOW_LISTEN && !links[i].expected)
        return std::unexpected("this link can't wait here: too many do, or its description is damaged");
    }
    return {};
  }

  // The dialler is the other end.
  static link::Side other_side(const LinkState& link) {
    return link.is_input ? link::Side::producer : link::Side::consumer;
  }
  static link::Side own_side(const LinkState& link) {
    return link.is_input ? link::Side::consumer : link::Side::producer;
  }

  bool expect(std::size_t index) {
    LinkRegistry* registry = surroundings.registry();
    auto claim = claim_from(links[index].end, other_side(links[index]));
    if (registry == nullptr || !claim) return false;
    return registry->expect(*claim, [self = shared_from_this(), index](net::Connection::Parts parts) {
      self->on_link(index, std::move(parts));
    });
  }

  void forget_expected(LinkState& link) {
    if (!std::exchange(link.expected, false)) return;
    if (auto claim = claim_from(link.end, other_side(link))) surroundings.registry()->forget(claim->link, claim->side);
  }

  void on_link(std::size_t index, net::Connection::Parts parts) {
    if (state == State::over || links_given_up) return;
    links[index].parts = std::move(parts);
    forget_expected(links[index]);
    changed.notify();
  }

  // --- connecting -------------------------------------------------------------------------------------------------

  void connect() {
    if (state != State::prepared || failed) return;
    tasks.spawn(connect_all(shared_from_this()));
  }

  static Awaitable<void> connect_all(std::shared_ptr<Impl> self) {
    TimePoint deadline = Clock::now() + kConnectTime;
    for (std::size_t i = 0; i < self->links.size(); ++i)
      if (self->links[i].end.how() == v1::LinkEnd::HOW_DIAL) self->tasks.spawn(dial(self, i));
    while (!self->all_connected() && !self->failed && !self->links_given_up && Clock::now() < deadline)
      co_await self->changed.wait(deadline);
    if (self->failed || self->links_given_up || self->state != State::prepared) co_return;
    if (!self->all_connected()) co_return self->fail(kRefusedStatus, self->missing_links());
    self->state = State::connected;
    v1::HostEvent event;
    event.mutable_connected();
    self->emit(std::move(event));
  }

  bool all_connected() const {
    return std::ranges::all_of(links, [](const LinkState& link) { return link.parts.has_value(); });
  }

  std::string missing_links() const {
    for (const LinkState& link : links)
      if (!link.parts)
        return fmt::format("no connection from {} within {} s", link.end.peer_name(), kConnectTime.count());
    return "no connection";
  }

  void redial(const v1::Redial& redial) {
    for (std::size_t i = 0; i < links.size(); ++i) {
      v1::LinkEnd& end = links[i].end;
      if (end.link_id() != redial.link_id() || links[i].parts || state != State::prepared) continue;
      end.set_address(redial.address());
      end.set_node_id(redial.node_id());
      tasks.spawn(dial(shared_from_this(), i));
    }
  }

  static Awaitable<void> dial(std::shared_ptr<Impl> self, std::size_t index) {
    const v1::LinkEnd& end = self->links[index].end;
    auto claim = claim_from(end, own_side(self->links[index]));
    LinkAddress to{.node = NodeId::parse(end.node_id())};
    if (!end.address().empty()) {
      auto at = net::parse_host_port(end.address());
      if (!at) co_return self->fail(kRefusedStatus, at.error());
      to.at = *at;
    }
    if (!claim) co_return self->fail(kRefusedStatus, "the description of a link is damaged");
    unsigned tries = self->surroundings.registry() == nullptr ? kClientTries : 1;
    for (unsigned tried = 1;; ++tried) {
      auto parts = co_await self->surroundings.dial(to, *claim, Clock::now() + kDialTime);
      if (parts) co_return self->on_link(index, std::move(*parts));
      bool again = parts.error().kind == net::NetErrorKind::timed_out && tried < tries && !self->links_given_up;
      if (!again) co_return self->on_unreached(self->links[index], parts.error().message);
    }
  }

  void on_unreached(const LinkState& link, const std::string& why) {
    if (link.parts) return;  // the other end was quicker
    const std::string& address = link.end.address();
    v1::HostEvent event;
    event.mutable_unreached()->set_link_id(link.end.link_id());
    event.mutable_unreached()->set_message(
        fmt::format("cannot reach {} ({}): {}", link.end.peer_name(), address.empty() ? "the node" : address, why));
    if (surroundings.registry() != nullptr) return emit(std::move(event));
    fail(kRefusedStatus, event.unreached().message());
    changed.notify();
  }

  // --- starting ---------------------------------------------------------------------------------------------------

  void start() {
    if (state != State::connected || failed) return;
    auto started = has_stages() ? launch() : pump_own_streams();
    if (!started) fail(kRefusedStatus, started.error());
  }

  LinkState* output_link() { return prepare_message.has_output() ? &links.back() : nullptr; }
  std::size_t input_count() const { return static_cast<std::size_t>(prepare_message.inputs_size()); }

  // A part without a stage is the client's stdin or stdout.
  std::expected<void, std::string> pump_own_streams() {
    state = State::started;
    if (output_link() != nullptr) start_source(links.size() - 1, duplicate(surroundings.own_input()), false);
    if (input_count() > 0)
      if (auto pumping = start_sinks(duplicate(surroundings.own_output()), false); !pumping) return pumping;
    emit_started({});
    check_over();
    return {};
  }

  void emit_started(const std::vector<std::int32_t>& pids) {
    v1::HostEvent event;
    event.mutable_started();
    for (std::int32_t pid : pids) event.mutable_started()->add_pids(pid);
    emit(std::move(event));
  }

  std::expected<void, std::string> launch() {
    auto use = surroundings.spawner();
    if (!use) return std::unexpected(use.error());
    exec::Launch launch;
    if (auto made = fill(launch); !made) return made;
    Streams streams;
    if (auto made = make_streams(launch, streams); !made)
      return std::unexpected(fmt::format("cannot make the pipes of {} stages: {}; raise the limit (ulimit -n)",
                                         programs.size(), std::strerror(made.error())));
    std::vector<int> descriptors;
    for (const UniqueFd& fd : streams.passed) descriptors.push_back(fd.get());
    if (auto sent = (*use)->client().send_with(launch, descriptors); !sent)
      return std::unexpected(
          fmt::format("cannot pass the pipes of {} stages to the spawner: {}; raise the limit "
                      "(ulimit -n)",
                      programs.size(), std::strerror(sent.error())));
    spawner = std::move(*use);  // not before: one that was told nothing would never say that it is done
    programs_over = false;
    state = State::started;
    input_end = std::move(streams.input);
    output_end = std::move(streams.output);
    error_ends = std::move(streams.errors);
    tasks.spawn(read_spawner(shared_from_this()));
    flush_spawner();
    return {};
  }

  std::expected<void, std::string> fill(exec::Launch& launch) {
    if (folder.empty()) {
      auto made = surroundings.make_folder();
      if (!made) return std::unexpected(made.error());
      folder = *made;
      directory = folder;
    }
    launch.directory = directory;
    exec::Environment variables = environment();
    if (!folder.empty() && !surroundings.is_client()) variables.set("PWD", directory);
    launch.environment = variables.entries();
    launch.process_group = surroundings.process_group();
    launch.account_io = prepare_message.account_io();
    launch.run_as = surroundings.run_as();
    if (!prepare_message.has_keep()) return {};
    auto keep = surroundings.keep_folder(prepare_message.flow_id(), prepare_message.part(), folder);
    if (!keep) return std::unexpected(keep.error());
    bool outlives_daemon = prepare_message.keep().outlives_daemon() && links.empty();
    launch.keep = exec::Keep{.directory = *keep, .survives_owner = outlives_daemon};
    if (prepare_message.keep().output_bytes_max() != 0)
      launch.keep->output_bytes_max = prepare_message.keep().output_bytes_max();
    return {};
  }

  struct Streams {
    std::vector<UniqueFd> passed;  // in the order in which the spawner takes them
    UniqueFd input;                // our write end of the first stage's stdin
    UniqueFd output;               // our read end of the last stage's stdout
    std::vector<UniqueFd> errors;  // our read ends of each stage's stderr
  };

  std::expected<void, int> make_streams(exec::Launch& launch, Streams& streams) {
    for (std::size_t i = 0; i < programs.size(); ++i) {
      exec::Program program = programs[i];
      program.input = exec::Stream::neighbour;
      program.output = exec::Stream::neighbour;
      UniqueFd guard;
      if (i == 0)
        if (auto made = make_input(program, streams, guard); !made) return made;
      if (i + 1 == programs.size())
        if (auto made = make_output(program, streams); !made) return made;
      if (auto made = make_error(program, i, streams); !made) return made;
      if (program.guarded_input) streams.passed.push_back(std::move(guard));
      launch.programs.push_back(std::move(program));
    }
    return {};
  }

  std::expected<void, int> make_input(exec::Program& program, Streams& streams, UniqueFd& guard) {
    if (input_count() == 0) {
      program.input = exec::Stream::inherited;  // the client's own; of a node's spawner it is /dev/null
      return {};
    }
    auto pipe = make_pipe();
    if (!pipe) return std::unexpected(pipe.error());
    guard = duplicate(pipe->write_end.get());
    if (!guard) return std::unexpected(errno);
    program.input = exec::Stream::passed;
    program.guarded_input = true;
    streams.passed.push_back(std::move(pipe->read_end));
    streams.input = std::move(pipe->write_end);
    return {};
  }

  std::expected<void, int> make_output(exec::Program& program, Streams& streams) {
    if (output_link() == nullptr) {
      program.output = prepare_message.has_keep() ? exec::Stream::captured : exec::Stream::inherited;
      return {};
    }
    auto pipe = make_pipe();
    if (!pipe) return std::unexpected(pipe.error());
    program.output = exec::Stream::passed;
    streams.passed.push_back(std::move(pipe->write_end));
    streams.output = std::move(pipe->read_end);
    return {};
  }

  std::expected<void, int> make_error(exec::Program& program, std::size_t index, Streams& streams) {
    if (program.error == exec::Stream::as_stdout || surroundings.is_client()) return {};
    if (prepare_message.has_keep()) {
      program.error = exec::Stream::captured;
      return {};
    }
    auto pipe = make_pipe();
    if (!pipe) return std::unexpected(pipe.error());
    program.error = exec::Stream::passed;
    streams.passed.push_back(std::move(pipe->write_end));
    streams.errors.push_back(std::move(pipe->read_end));
    error_stages.push_back(prepare_message.stages(static_cast<int>(index)).index());
    return {};
  }

  UniqueFd input_end;
  UniqueFd output_end;
  std::vector<UniqueFd> error_ends;
  std::vector<std::uint32_t> error_stages;
  std::size_t open_errors = 0;

  // --- pumps ------------------------------------------------------------------------------------------------------

  link::LinkOptions pump_options(bool own_pipe) {
    return {.owner = surroundings.executor(), .descriptor_is_ours = own_pipe};
  }

  void start_source(std::size_t index, UniqueFd from, bool own_pipe) {
    LinkState& link = links[index];
    link.pump.emplace(link::start_source(surroundings.loops(), std::move(from), std::move(*link.parts),
                                         pump_options(own_pipe), on_pump_end(index)));
    link.parts.reset();
  }

  void start_sink(std::size_t index, UniqueFd into, bool own_pipe) {
    LinkState& link = links[index];
    link.pump.emplace(link::start_sink(surroundings.loops(), std::move(*link.parts), std::move(into),
                                       pump_options(own_pipe), on_pump_end(index)));
    link.parts.reset();
  }

  link::OnEnd on_pump_end(std::size_t index) {
    return [weak = weak_from_this(), index](link::LinkEnd end) {
      if (auto self = weak.lock()) self->on_link_end(index, end);
    };
  }

  std::expected<void, std::string> start_sinks(UniqueFd into, bool own_pipe) {
    bool merging = input_count() > 1 || !prepare_message.input_marks(0).empty();
    if (!merging) {
      start_sink(0, std::move(into), own_pipe);
      return {};
    }
    std::vector<UniqueFd> merged;
    for (std::size_t i = 0; i < input_count(); ++i) {
      auto pipe = make_pipe();
      if (!pipe) return std::unexpected(fmt::format("cannot make a pipe: {}", std::strerror(pipe.error())));
      merged.push_back(std::move(pipe->read_end));
      start_sink(i, std::move(pipe->write_end), true);
    }
    std::vector<std::string> marks(prepare_message.input_marks().begin(), prepare_message.input_marks().end());
    marks.resize(input_count());
    merge = std::make_unique<link::LineMerge>(
        std::move(merged), std::move(marks), std::move(into),
        [weak = weak_from_this(), executor = surroundings.executor()](link::MergeEnd end) {
          asio::post(executor, [weak, end] {
            if (auto self = weak.lock()) self->on_merge_end(end);
          });
        });
    return {};
  }

  void on_merge_end(link::MergeEnd end) {
    merge_over = true;
    if (end == link::MergeEnd::failed) emit_link_ended(links[0], v1::LinkEnded::KIND_FAILED, 0, "cannot write");
    if (end == link::MergeEnd::ended) release_input();
    check_over();
  }
  bool merge_over = false;

  void release_input() {
    if (has_stages() && spawner && !links_cut) spawner->client().send(exec::ReleaseInput{0});
  }
  bool links_cut = false;

  void on_link_end(std::size_t index, const link::LinkEnd& end) {
    using Kind = link::LinkEnd::Kind;
    LinkState& link = links[index];
    if (link.over) return;
    link.over = true;
    bool lost = end.kind == Kind::cut || end.kind == Kind::aborted || end.kind == Kind::failed_local;
    if (lost && link.is_input && has_stages()) {
      links_cut = true;
      kill_programs();  // before its stdin closes: what it has read is not all there was
    }
    if (link.is_input && end.kind == Kind::ended && !merge) release_input();
    if (link.is_input) link.pump->release();
    if (end.kind != Kind::cancelled) {
      auto kind = end.kind == Kind::ended           ? v1::LinkEnded::KIND_ENDED
                  : end.kind == Kind::reader_closed ? v1::LinkEnded::KIND_READER_CLOSED
                  : end.kind == Kind::failed_local  ? v1::LinkEnded::KIND_FAILED
                                                    : v1::LinkEnded::KIND_CUT;
      emit_link_ended(link, kind, end.bytes, end.message);
    }
    check_over();
  }

  void emit_link_ended(const LinkState& link, v1::LinkEnded::Kind kind, std::uint64_t bytes,
                       const std::string& message) {
    v1::HostEvent event;
    v1::LinkEnded& ended = *event.mutable_link_ended();
    ended.set_link_id(link.end.link_id());
    ended.set_kind(kind);
    ended.set_bytes_moved(bytes);
    ended.set_message(message);
    ended.set_is_input(link.is_input);
    emit(std::move(event));
  }

  // --- the spawner's events ---------------------------------------------------------------------------------------

  static Awaitable<void> read_spawner(std::shared_ptr<Impl> self) {
    exec::SpawnerClient& client = self->spawner->client();
    asio::posix::stream_descriptor descriptor(self->surroundings.executor(), client.descriptor());
    self->spawner_watch = &descriptor;
    while (!self->programs_over && !self->letting_go) {
      auto event = client.poll_event();
      if (!event) {
        self->on_spawner_lost(event.error());
        break;
      }
      if (event->has_value())
        std::visit([&self](auto& message) { self->handle(message); }, **event);
      else
        co_await descriptor.async_wait(asio::posix::stream_descriptor::wait_read, kTuple);
    }
    self->spawner_watch = nullptr;
    descriptor.release();
    self->spawner.reset();
    self->programs_over = true;
    self->check_over();
  }

  void on_spawner_lost(const std::string& why) {
    programs_over = true;
    surroundings.log().error("spawner lost", {{"flow", prepare_message.flow_id()}, {"reason", why}});
    fail(kRefusedStatus, "the spawner of the stages was killed; they ended with it");
  }

  void handle(exec::Started& started) {
    if (input_end) {
      if (auto pumping = start_sinks(std::move(input_end), true); !pumping)
        return fail(kRefusedStatus, pumping.error());
    }
    if (output_end) start_source(links.size() - 1, std::move(output_end), true);
    for (std::size_t i = 0; i < error_ends.size(); ++i) {
      ++open_errors;
      tasks.spawn(read_errors(shared_from_this(), std::move(error_ends[i]), error_stages[i]));
    }
    error_ends.clear();
    if (surroundings.is_client()) release_standard_streams();
    emit_started(started.pids);
  }

  // A program outside that reads our stdout, or writes to our stdin, must see the stages' ends only, not ours.
  void release_standard_streams() {
    UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
    if (null && input_count() == 0) ::dup3(null.get(), STDIN_FILENO, O_CLOEXEC);
    if (null && !prepare_message.has_output()) ::dup3(null.get(), STDOUT_FILENO, O_CLOEXEC);
  }

  void handle(exec::LaunchFailed& failure) {
    const v1::StageText& stage = prepare_message.stages(static_cast<int>(failure.program));
    const exec::Program& program = programs[failure.program];
    bool executing = failure.action == "execute";
    bool file_is_there = ::access(program.path.c_str(), F_OK) == 0;
    std::string why = std::strerror(failure.error);
    if (executing && failure.error == ENOENT && file_is_there) why = "its interpreter is missing";
    if (failure.error == EMFILE || failure.error == ENFILE) why += "; raise the limit (ulimit -n)";
    if (failure.error == EAGAIN) why += "; raise the limit (ulimit -u)";
    const std::string& what = executing ? program.path : stage.command();
    int status = !executing ? kRefusedStatus : failure.error == ENOENT ? 127 : 126;
    fail(status,
         fmt::format("stage {}: cannot {} {}: {}; nothing is left running", stage.index() + 1, failure.action,
                     flow::on_one_line(what, 60), why),
         static_cast<int>(stage.index()));
  }

  void handle(exec::Exited& exited) {
    v1::HostEvent event;
    v1::Exited& message = *event.mutable_exited();
    message.set_stage(prepare_message.stages(static_cast<int>(exited.program)).index());
    message.set_wait_status(exited.wait_status);
    message.set_reader_done(exited.output_reader != exec::Reader::open);
    message.set_cpu_us(exited.user_us + exited.system_us);
    message.set_peak_memory_bytes(exited.peak_memory_bytes);
    message.set_io_known(exited.io_known);
    message.set_io_read_bytes(exited.io_read_bytes);
    message.set_io_write_bytes(exited.io_write_bytes);
    emit(std::move(event));
  }

  void handle(exec::Childless&) {
    programs_over = true;
    v1::HostEvent event;
    event.mutable_childless();
    emit(std::move(event));
  }

  void handle(exec::Survey& survey) {
    v1::HostEvent event;
    v1::SurveyResult& result = *event.mutable_survey();
    for (const exec::Stray& stray : survey.strays) {
      v1::Stray& message = *result.add_strays();
      message.set_pid(stray.pid);
      message.set_name(stray.name);
      message.set_drains_pipe(stray.drains_pipe);
    }
    emit(std::move(event));
  }

  static Awaitable<void> read_errors(std::shared_ptr<Impl> self, UniqueFd from, std::uint32_t stage) {
    asio::posix::stream_descriptor descriptor(self->surroundings.executor(), from.release());
    std::string buffer(kErrorOutputSize, '\0');
    while (true) {
      auto [error, size] = co_await descriptor.async_read_some(asio::buffer(buffer), kTuple);
      if (error) break;
      v1::HostEvent event;
      event.mutable_error_output()->set_stage(stage);
      event.mutable_error_output()->set_bytes(buffer.data(), size);
      self->emit(std::move(event));
      if (!self->abandoned) co_await self->room();
    }
    --self->open_errors;
    self->check_over();
  }

  // --- commands to the spawner ------------------------------------------------------------------------------------

  void signal(const v1::Signal& signal) {
    if (!spawner) return;
    exec::SendSignal request{
        .signal = signal.number(), .strays_too = signal.strays_too(), .then_continue = signal.then_continue()};
    for (std::uint32_t stage : signal.stages())
      for (int i = 0; i < prepare_message.stages_size(); ++i)
        if (prepare_message.stages(i).index() == stage) request.programs.push_back(static_cast<exec::ProgramIndex>(i));
    spawner->client().send(request);
    wake_spawner();
  }

  void survey() {
    if (spawner) return spawner->client().send(exec::RequestSurvey{});
    v1::HostEvent event;
    event.mutable_survey();
    emit(std::move(event));
  }

  void kill_programs() {
    if (!spawner) return;
    spawner->client().send(exec::EndAll{});
    wake_spawner();
  }

  // A stage can stop its parent (kill -STOP $PPID); what must be ended must not wait for that.
  void wake_spawner() {
    if (spawner->client().pid() > 0) ::kill(spawner->client().pid(), SIGCONT);
    flush_spawner();
  }

  void flush_spawner() {
    if (spawner && spawner->client().wants_write()) tasks.spawn(flush(shared_from_this()));
  }

  static Awaitable<void> flush(std::shared_ptr<Impl> self) {
    while (self->spawner && self->spawner->client().wants_write()) {
      UniqueFd copy = duplicate(self->spawner->client().descriptor());
      asio::posix::stream_descriptor descriptor(self->surroundings.executor(), copy.release());
      co_await descriptor.async_wait(asio::posix::stream_descriptor::wait_write, kTuple);
      if (self->spawner) self->spawner->client().flush();
    }
  }

  void detach() {
    detached = true;
    if (spawner) spawner->client().send(exec::Detach{});
  }

  // --- the end ----------------------------------------------------------------------------------------------------

  // What is under way on the links is dropped; a link that does not run yet is closed.
  // The other ends of the links are told `why`: their word may reach the user first.
  void give_up(bool links_too, const std::string& why = "the flow was ended") {
    if (links_too && !std::exchange(links_given_up, true)) {
      links_cut = true;
      for (LinkState& link : links) {
        forget_expected(link);
        link.parts.reset();
        if (link.pump)
          link.pump->cancel(why);
        else
          link.over = true;
      }
      input_end.reset();
      output_end.reset();
      error_ends.clear();
      changed.notify();
    }
    kill_programs();
    check_over();
  }

  void check_over() {
    if (state == State::over || !programs_over || spawner || open_errors > 0) return;
    if (state != State::started && !links_given_up) return;
    if (!std::ranges::all_of(links, &LinkState::over)) return;
    if (merge && !merge_over && !links_given_up) return;
    state = State::over;
    // A kept part's folder is known by its name.
    bool nobody_knows_it = !detached && !prepare_message.has_keep() && directory == folder;
    if (!folder.empty() && nobody_knows_it)
      surroundings.recycle_folder(folder);
    else if (!folder.empty())
      surroundings.remove_folder(folder);
    if (!failed && !prepare_message.look_only()) {
      v1::HostEvent event;
      event.mutable_over();
      emit(std::move(event));
    }
    changed.notify();
  }
};

Awaitable<std::expected<LaidFolder, std::string>> PartSurroundings::lay_files(v1::Prepare) {
  co_return std::unexpected("nothing is shipped to a client");
}

PartHost::PartHost(PartSurroundings& surroundings, Emit emit, Room room)
    : impl_(std::make_shared<Impl>(surroundings, std::move(emit), std::move(room))) {}

PartHost::~PartHost() {
  if (!impl_->letting_go) abandon();
}

void PartHost::on_command(const v1::HostCommand& command) {
  switch (command.command_case()) {
    case v1::HostCommand::kPrepare:
      return impl_->prepare(command.prepare());
    case v1::HostCommand::kConnect:
      return impl_->connect();
    case v1::HostCommand::kStart:
      return impl_->start();
    case v1::HostCommand::kSignal:
      return impl_->signal(command.signal());
    case v1::HostCommand::kSurvey:
      return impl_->survey();
    case v1::HostCommand::kEndAll:
      return impl_->give_up(command.end_all().links_too());
    case v1::HostCommand::kDetach:
      return impl_->detach();
    case v1::HostCommand::kRedial:
      return impl_->redial(command.redial());
    case v1::HostCommand::kFinish:
    case v1::HostCommand::COMMAND_NOT_SET:
      return;
  }
}

void PartHost::leave() {
  v1::HostEvent event;
  event.mutable_leaving();
  impl_->emit(std::move(event));
  v1::Signal signal;
  signal.set_number(SIGTERM);
  signal.set_strays_too(true);
  signal.set_then_continue(true);
  for (const v1::StageText& stage : impl_->prepare_message.stages()) signal.add_stages(stage.index());
  impl_->signal(signal);
}

void PartHost::abandon() {
  impl_->abandoned = true;
  impl_->give_up(true);
}

void PartHost::let_go() {
  Impl& impl = *impl_;
  bool goes_on = impl.prepare_message.keep().outlives_daemon() && impl.links.empty() && impl.spawner;
  if (!goes_on) return abandon();
  impl.abandoned = true;
  impl.letting_go = true;
  impl.folder.clear();  // the stages go on working there
  if (impl.spawner_watch != nullptr) impl.spawner_watch->cancel();
}

Awaitable<void> PartHost::finished() {
  auto impl = impl_;
  while (impl->state != Impl::State::over) co_await impl->changed.wait();
  co_await impl->tasks.wait();
}

}  // namespace sluice::node
