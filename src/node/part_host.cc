#include "node/part_host.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <utility>
#include <vector>

#include "base/pipe.h"
#include "node/condition.h"
#include "node/flow_messages.h"
#include "node/part_launch.h"
#include "node/part_links.h"
#include "node/part_owner.h"
#include "node/part_programs.h"
#include "node/part_records.h"
#include "node/part_seats.h"
#include "node/task_group.h"
#include "sluice/v1/host.pb.h"
#include "sluice/v1/roles.pb.h"

namespace sluice::node {

using net::Awaitable;

namespace {

constexpr Duration kProgressPauseMin = std::chrono::milliseconds(200);  // whatever the orchestrator wants
// Between two looks at programs whose counters somebody has asked for, and how long after that: whoever goes on asking,
// as `sluice top` does, is told of some twenty moments a second.
constexpr Duration kLookPause = std::chrono::milliseconds(50);
constexpr Duration kLookTime = std::chrono::seconds(3);

bool is_ending(int signal) {
  return signal == SIGINT || signal == SIGTERM || signal == SIGHUP || signal == SIGQUIT || signal == SIGKILL;
}

UniqueFd duplicate(int fd) { return UniqueFd(::fcntl(fd, F_DUPFD_CLOEXEC, 3)); }

v1::Over::Seat to_message(JoinedSeat::End end) {
  switch (end) {
    case JoinedSeat::End::left:
      return v1::Over::SEAT_LEFT;
    case JoinedSeat::End::lost:
      return v1::Over::SEAT_LOST;
    case JoinedSeat::End::not_needed:
      break;
  }
  return v1::Over::SEAT_UNSPECIFIED;
}

}  // namespace

struct PartHost::Impl final : PartOwner, std::enable_shared_from_this<Impl> {
  enum class State { idle, prepared, connected, started, over };

  Impl(PartSurroundings& around, Emit emit_event, Room wait_room)
      : surroundings(around),
        emit_to(std::move(emit_event)),
        wait_for_room(std::move(wait_room)),
        tasks(around.executor(), around.log()),
        changed(around.executor()),
        progress_due(around.executor()),
        look_due(around.executor()),
        links(std::make_shared<PartLinks>(around, *this)),
        programs(around, *this, prepare_message) {}

  PartSurroundings& surroundings;
  Emit emit_to;
  Room wait_for_room;
  TaskGroup tasks;
  Condition changed;
  Condition progress_due;
  Condition look_due;
  State state = State::idle;
  v1::Prepare prepare_message;
  std::vector<exec::Program> resolved;
  std::shared_ptr<PartRecords> records;  // if some of its stages take records
  std::optional<PartSeats> seats;        // if it is nothing but seats
  std::unique_ptr<JoinedSeat> joined;    // if it is the one seat of a worker that was started by hand
  std::shared_ptr<PartLinks> links;
  PartPrograms programs;
  PartStreams streams;             // until the programs have started
  UniqueFd own_input, own_output;  // the client's, until then: another part of it may let go of them
  std::string folder;              // to be removed in the end
  std::string directory;           // where the stages work: `folder`, or below it
  bool abandoned = false;
  bool detached = false;  // some process may go on
  bool failed = false;
  bool letting_go = false;
  bool told_childless = false;
  std::uint64_t report_number = 0;  // the last that was asked for; 0: none was
  TimePoint look_until{};
  bool looking = false;

  // --- what the links and the programs need -------------------------------------------------------------------------

  void spawn(Awaitable<void> task) override { tasks.spawn(hold(shared_from_this(), std::move(task))); }
  static Awaitable<void> hold(std::shared_ptr<Impl>, Awaitable<void> task) { co_await std::move(task); }

  void emit(v1::HostEvent event) override {
    if (abandoned) return;
    event.set_part(prepare_message.part());
    emit_to(std::move(event));
  }

  Awaitable<void> room() override {
    if (!abandoned) co_await wait_for_room();
  }

  void fail(int status, const std::string& message, int stage = -1) override {
    if (failed || state == State::over) return;
    failed = true;
    v1::HostEvent event;
    event.mutable_failed()->set_status(status);
    event.mutable_failed()->set_message(message);
    event.mutable_failed()->set_stage(stage);
    emit(std::move(event));
    give_up(true, message);
  }

  bool has_joined() const { return !prepare_message.offer_id().empty(); }
  void pass_to_joined(int signal) {
    if (joined) joined->signal(signal);
  }

  // --- preparing --------------------------------------------------------------------------------------------------

  void prepare(const v1::Prepare& prepare) {
    if (state != State::idle) return;
    prepare_message = prepare;
    if (surroundings.is_client()) take_own_streams();
    state = State::prepared;
    if (!prepare.offer_id().empty()) return prepare_joined();
    if (prepare.files().empty() || prepare.look_only()) return finish_preparing();
    spawn(take_files());
  }

  // It goes on by itself: what it joins runs already.
  void prepare_joined() {
    joined = surroundings.take_offer(prepare_message.offer_id());
    if (!joined || prepare_message.seats_size() != 1) return fail(kRefusedStatus, "");  // another flow was quicker
    if (auto taken = links->take(prepare_message); !taken) return fail(kRefusedStatus, taken.error());
    v1::HostEvent event;
    event.mutable_prepared();
    emit(std::move(event));
    connect();
  }

  void take_own_streams() {
    auto of_client = [](const v1::PartStream& stream) { return !stream.has_from() || !stream.has_to(); };
    bool reads = prepare_message.has_reads_stdin() || std::ranges::any_of(prepare_message.outputs(), of_client);
    bool writes = !prepare_message.write_stdout().empty() || std::ranges::any_of(prepare_message.inputs(), of_client);
    if (reads) own_input = duplicate(surroundings.own_input());
    if (writes) own_output = duplicate(surroundings.own_output());
  }

  Awaitable<void> take_files() {
    v1::Prepare wanted = prepare_message;
    auto laid = co_await surroundings.lay_files(std::move(wanted));
    if (state == State::over || failed) {
      if (laid) surroundings.remove_folder(laid->root);
      co_return;
    }
    if (!laid) co_return fail(kRefusedStatus, "cannot take over a file: " + laid.error());
    folder = laid->root;
    directory = laid->directory;
    finish_preparing();
  }

  void finish_preparing() {
    bool has_part = !prepare_message.stages().empty() || surroundings.is_client();
    if (!has_part) return fail(kRefusedStatus, "a part of a node has stages, and this one has none");
    auto part = resolve_part(prepare_message, surroundings, directory);
    if (!part) return fail(kRefusedStatus, part.error());
    resolved = std::move(part->programs);
    if (part->plan) {
      records = std::make_shared<PartRecords>(prepare_message, *std::move(part->plan), surroundings, *this);
      if (!prepare_message.look_only())
        if (auto opened = records->open_files(); !opened) return fail(kRefusedStatus, opened.error());
    }
    if (!prepare_message.look_only())
      if (auto taken = links->take(prepare_message); !taken) return fail(kRefusedStatus, taken.error());
    v1::HostEvent event;
    event.mutable_prepared();
    for (v1::StageHow& how : part->hows) *event.mutable_prepared()->add_stages() = std::move(how);
    emit(std::move(event));
    if (prepare_message.look_only()) give_up(true);
  }

  // --- connecting -------------------------------------------------------------------------------------------------

  void connect() {
    if (state == State::prepared && !failed) links->connect();
  }

  void redial(const v1::Redial& redial) {
    if (state != State::idle && state != State::over) links->redial(redial);
  }

  void on_links_connected() override {
    if (failed || state != State::prepared) return;
    state = State::connected;
    v1::HostEvent event;
    event.mutable_connected();
    emit(std::move(event));
    if (joined) start();
  }

  // --- starting ---------------------------------------------------------------------------------------------------

  void start() {
    if (state != State::connected || failed) return;
    // The other end has it already, and we are about to read its answer.
    if (links->redialling()) return spawn(start_when_redialled());
    if (!links->all_connected()) return fail(kRefusedStatus, links->missing());
    auto started = joined ? serve_joined() : is_end_of_client(prepare_message) ? pump_own_streams() : launch();
    if (!started) fail(kRefusedStatus, started.error());
  }

  Awaitable<void> start_when_redialled() {
    co_await links->redialled();
    start();
  }

  std::expected<void, std::string> serve_joined() {
    auto requests = make_pipe(), replies = make_pipe();
    if (!requests || !replies) return std::unexpected(no_pipes("make", requests ? replies.error() : requests.error()));
    state = State::started;
    v1::RoleTask task;
    task.set_flow_id(prepare_message.flow_id());
    task.set_flow_name(prepare_message.flow_name());
    task.set_stage(prepare_message.stages(0).index());
    task.set_worker(prepare_message.stages(0).worker());
    joined->serve(task, std::move(requests->read_end), std::move(replies->write_end));
    links->start_seat(0, std::move(replies->read_end), std::move(requests->write_end));
    emit_started({});
    return {};
  }

  // A worker joins a stage whose records are here.
  void add_seat(const v1::AddSeat& seat) {
    if (state == State::started && records && !failed) links->join_seat(seat.seat());
  }

  bool on_seat_joined(std::uint32_t stage, std::size_t seat) override {
    auto requests = make_pipe(), replies = make_pipe();
    if (!requests || !replies) return false;
    SeatPipes pipes{.requests = std::move(requests->write_end), .replies = std::move(replies->read_end)};
    if (!records->add_seat(stage, std::move(pipes))) return false;
    links->start_seat(seat, std::move(requests->read_end), std::move(replies->write_end));
    return true;
  }

  // A part without a stage is the client's stdin or stdout.
  std::expected<void, std::string> pump_own_streams() {
    state = State::started;
    if (links->output_count() > 0) links->start_output(0, std::move(own_input), false);
    if (links->input_count() > 0)
      if (auto pumping = links->start_input(0, std::move(own_output), false); !pumping) return pumping;
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

  std::expected<PartStreams, int> make_streams(exec::Launch& launch) {
    if (records)
      return records->connect(*links, surroundings.reads_errors(), std::move(own_input), std::move(own_output), launch);
    own_input.reset();  // its programs have them from their spawner
    own_output.reset();
    if (!prepare_message.hosts_seats()) return make_part_streams(prepare_message, resolved, surroundings, launch);
    return seats.emplace(prepare_message, surroundings).connect(resolved.front(), launch);
  }

  std::vector<ProgramPlace> places_of_programs() const {
    std::vector<ProgramPlace> places(records ? records->program_count() : resolved.size());
    for (std::size_t i = 0; i < places.size(); ++i)
      places[i] = records ? records->place_of_program(static_cast<exec::ProgramIndex>(i)) : ProgramPlace{.stage = i};
    return places;
  }

  // The processes of all its stages run elsewhere.
  std::expected<void, std::string> start_records_alone() {
    exec::Launch none;
    auto made = make_streams(none);
    if (!made) return std::unexpected(no_pipes("make", made.error()));
    state = State::started;
    streams = std::move(*made);
    on_programs_started({});
    return {};
  }

  // What is kept is kept by a spawner, if it has no program to start, too.
  std::expected<void, std::string> launch() {
    if (records && records->all_far() && !prepare_message.has_keep()) return start_records_alone();
    auto use = surroundings.spawner();
    if (!use) return std::unexpected(use.error());
    exec::Launch launch;
    if (auto made = fill(launch); !made) return made;
    auto made = make_streams(launch);
    if (!made) return std::unexpected(no_pipes("make", made.error()));
    std::vector<int> descriptors;
    for (const UniqueFd& fd : made->passed) descriptors.push_back(fd.get());
    if (auto sent = (*use)->client().send_with(launch, descriptors); !sent)
      return std::unexpected(no_pipes("pass", sent.error()));
    // Not before: a spawner that was told nothing would never say that it is done.
    state = State::started;
    streams = std::move(*made);
    streams.passed.clear();
    bool observes = launch.observe_links && streams.outputs.size() == 1;
    auto output = observes ? link::PipeObserver::watch(streams.outputs.front().get()) : link::PipeObserver();
    programs.watch(std::move(*use), launch.programs, places_of_programs(), std::move(streams.errors),
                   std::move(output));
    return {};
  }

  std::string no_pipes(std::string_view action, int error) const {
    return fmt::format("cannot {} the pipes of {} stages{}: {}; raise the limit (ulimit -n)", action, resolved.size(),
                       action == "pass" ? " to the spawner" : "", std::strerror(error));
  }

  std::expected<void, std::string> fill(exec::Launch& launch) {
    if (folder.empty()) {
      auto made = surroundings.make_folder();
      if (!made) return std::unexpected(made.error());
      folder = *made;
      directory = folder;
    }
    launch.directory = directory;
    exec::Environment variables = part_environment(prepare_message, surroundings);
    if (!folder.empty() && !surroundings.is_client()) variables.set("PWD", directory);
    launch.environment = variables.entries();
    launch.process_group = surroundings.process_group();
    launch.account_io = prepare_message.account_io() || prepare_message.progress_ms() != 0;
    launch.observe_links = prepare_message.progress_ms() != 0;
    launch.run_as = surroundings.run_as();
    return prepare_message.has_keep() ? keep(launch) : std::expected<void, std::string>();
  }

  std::expected<void, std::string> keep(exec::Launch& launch) {
    const v1::Keep& wanted = prepare_message.keep();
    auto kept = surroundings.keep_folder(prepare_message.flow_id(), prepare_message.part(), folder);
    if (!kept) return std::unexpected(kept.error());
    launch.keep = exec::Keep{.directory = *kept, .survives_owner = wanted.outlives_daemon() && links->empty()};
    if (wanted.output_bytes_max() != 0) launch.keep->output_bytes_max = wanted.output_bytes_max();
    return {};
  }

  // --- running ----------------------------------------------------------------------------------------------------

  void on_programs_started(const std::vector<std::int32_t>& pids) override {
    for (std::size_t i = 0; i < streams.inputs.size(); ++i)
      if (auto pumping = links->start_input(i, std::move(streams.inputs[i]), true); !pumping)
        return fail(kRefusedStatus, pumping.error());
    for (std::size_t i = 0; i < streams.outputs.size(); ++i)
      links->start_output(i, std::move(streams.outputs[i]), true);
    programs.read_errors();
    if (seats)
      if (auto serving = seats->start(*links); !serving) return fail(kRefusedStatus, no_pipes("make", serving.error()));
    if (records) records->start();
    if (surroundings.is_client()) release_standard_streams();
    emit_started(pids_of_stages(pids));
    if (prepare_message.progress_ms() != 0) spawn(report_progress());
  }

  // Of a stage of several programs, the first.
  std::vector<std::int32_t> pids_of_stages(const std::vector<std::int32_t>& pids) const {
    if (!records) return pids;
    std::vector<std::int32_t> first(static_cast<std::size_t>(prepare_message.stages_size()));
    for (std::size_t i = pids.size(); i-- > 0;) first[records->stage_of(static_cast<exec::ProgramIndex>(i))] = pids[i];
    return first;
  }

  Awaitable<void> report_progress() {
    Duration pause = std::max(kProgressPauseMin, Duration(std::chrono::milliseconds(prepare_message.progress_ms())));
    TimePoint next = Clock::now() + pause;
    while (!abandoned && programs.running()) {
      co_await progress_due.wait(next);
      if (abandoned || !programs.running() || Clock::now() < next) continue;
      emit_moved();
      next = Clock::now() + pause;
      co_await room();
    }
  }

  void emit_moved() {
    v1::HostEvent event;
    v1::Moved& moved = *event.mutable_moved();
    programs.fill(moved);
    for (int i = 0; i < prepare_message.outputs_size(); ++i) {
      const v1::PartStream& output = prepare_message.outputs(i);
      auto stage = std::ranges::find(*moved.mutable_stages(), output.from(), &v1::StageMoved::stage);
      if (stage != moved.mutable_stages()->end() && !output.of_errors())
        stage->set_link_bytes(stage->link_bytes() + links->output_bytes(static_cast<std::size_t>(i)));
    }
    emit(std::move(event));
  }

  // --- counters ---------------------------------------------------------------------------------------------------

  void report(std::uint64_t number) {
    report_number = number;
    programs.look();
    emit_report();
    look_until = Clock::now() + kLookTime;
    if (!looking && !abandoned && programs.running()) spawn(look_for_a_while());
  }

  void emit_report() {
    v1::HostEvent event;
    v1::Moved& moved = *event.mutable_moved();
    moved.set_report(std::max<std::uint64_t>(report_number, 1));
    programs.report(moved);
    if (records) records->report(moved);
    links->report(moved);
    emit(std::move(event));
  }

  void tell_waits(std::uint64_t number) {
    v1::HostEvent event;
    v1::Waits& waits = *event.mutable_waits();
    waits.set_number(number);
    if (records) records->fill(waits);
    links->fill(waits);
    emit(std::move(event));
  }

  Awaitable<void> look_for_a_while() {
    looking = true;
    TimePoint next = Clock::now() + kLookPause;
    while (!abandoned && programs.running() && Clock::now() < look_until) {
      co_await look_due.wait(next);
      if (abandoned || !programs.running() || Clock::now() < next) continue;
      programs.look();
      next = Clock::now() + kLookPause;
    }
    looking = false;
  }

  // A program outside that reads our stdout, or writes to our stdin, must see the stages' ends only, not ours.
  void release_standard_streams() {
    UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
    if (null && links->input_count() == 0) ::dup3(null.get(), STDIN_FILENO, O_CLOEXEC);
    if (null && links->output_count() == 0) ::dup3(null.get(), STDOUT_FILENO, O_CLOEXEC);
  }

  // Who reads what we write is misled by no end of it: the output stays open.
  void on_input_lost() override {
    programs.kill();
    if (records) records->stop();
  }
  void on_input_delivered(std::size_t input) override {
    if (records) return records->on_input_delivered(input);
    programs.release_input(0);
  }
  void release_input(exec::ProgramIndex program) override { programs.release_input(program); }

  // Of a seat that is here, what was asked for is not whole any more; of one elsewhere, its stage learns it by itself.
  void on_seat_lost() override {
    if (joined) return joined->cut("its link to the host with the records was lost");
    if (has_joined()) return;
    if (prepare_message.hosts_seats()) programs.kill();
  }

  void on_program_exited(const exec::Exited& exited) override {
    if (records) return records->on_exited(exited);
    if (prepare_message.hosts_seats()) return;  // its jobs were told to who asked for them
    v1::HostEvent event;
    to_message(exited, prepare_message.stages(static_cast<int>(exited.program)).index(), *event.mutable_exited());
    emit(std::move(event));
  }

  // Stages whose processes run elsewhere count, too.
  void on_programs_childless() override {
    if (programs.has_children() || (records && !records->far_ended()) || std::exchange(told_childless, true)) return;
    v1::HostEvent event;
    event.mutable_childless();
    emit(std::move(event));
  }

  void signal(const v1::Signal& signal) {
    if (has_joined()) return pass_to_joined(signal.number());
    // First: what a signal ends is not to be run again.
    if (records && is_ending(signal.number())) records->stop_jobs();
    programs.signal(signal);
  }

  void set_workers(const v1::SetWorkers& wanted) {
    if (records) return records->set_workers(wanted);
    v1::HostEvent event;
    event.mutable_workers_set()->set_request(wanted.request());
    event.mutable_workers_set()->set_problem("it takes no records, and has one process");
    emit(std::move(event));
  }

  // What is kept of the stages' records is whole first: from then on the spawner takes only what has come.
  void detach() {
    detached = true;
    if (!records || records->over()) programs.detach();
  }

  // --- the end ----------------------------------------------------------------------------------------------------

  // What is under way on the links is dropped; a link that does not run yet is closed.
  // The other ends of the links are told `why`: their word may reach the user first.
  void give_up(bool links_too, const std::string& why = "the flow was ended") {
    if (links_too && !links->given_up()) {
      links->give_up(why);
      streams = PartStreams();
      own_input.reset();
      own_output.reset();
      programs.drop_errors();
      if (records) records->stop();
      if (seats) seats->give_up();
      if (joined) joined->cut(why);
    }
    programs.kill();
    check_over();
  }

  void check_over() override {
    progress_due.notify();
    look_due.notify();
    if (detached && records && records->over()) programs.detach();
    if (state == State::over || !programs.over()) return;
    if (records && !records->over()) return;
    if (state != State::started && !links->given_up()) return;
    if (seats) seats->stop();  // nobody is left to be served
    if (records) links->drop_joining();
    if (!links->over()) return;
    state = State::over;
    auto seat_end = joined ? joined->end() : JoinedSeat::End::not_needed;
    joined.reset();  // nothing of what it was asked is cut any more
    if (records) records->release();
    // A kept part's folder is known by its name.
    bool nobody_knows_it = !detached && !prepare_message.has_keep() && directory == folder;
    if (!folder.empty() && nobody_knows_it)
      surroundings.recycle_folder(folder);
    else if (!folder.empty())
      surroundings.remove_folder(folder);
    if (!failed && !prepare_message.look_only()) {
      if (prepare_message.progress_ms() != 0) emit_moved();  // what they did in all
      emit_report();                                         // whoever looks later is told of it, too
      v1::HostEvent event;
      event.mutable_over()->set_seat(to_message(seat_end));
      emit(std::move(event));
    }
    changed.notify();
  }
};

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
      return impl_->programs.survey();
    case v1::HostCommand::kEndAll:
      return impl_->give_up(command.end_all().links_too());
    case v1::HostCommand::kReport:
      return impl_->report(command.report().number());
    case v1::HostCommand::kAskWaits:
      return impl_->tell_waits(command.ask_waits().number());
    case v1::HostCommand::kDetach:
      return impl_->detach();
    case v1::HostCommand::kDropLinks:
      return impl_->links->drop(command.drop_links());
    case v1::HostCommand::kAddSeat:
      return impl_->add_seat(command.add_seat());
    case v1::HostCommand::kSetWorkers:
      return impl_->set_workers(command.set_workers());
    case v1::HostCommand::kRedial:
      return impl_->redial(command.redial());
    case v1::HostCommand::kResume:  // it is for whoever has the part
    case v1::HostCommand::kFinish:
    case v1::HostCommand::COMMAND_NOT_SET:
      return;
  }
}

std::size_t PartHost::programs() const {
  if (impl_->state == Impl::State::over || impl_->has_joined()) return 0;
  if (impl_->prepare_message.hosts_seats()) return impl_->links->seat_count();
  return static_cast<std::size_t>(impl_->prepare_message.stages_size());
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
  bool goes_on = impl.prepare_message.keep().outlives_daemon() && impl.links->empty() && impl.programs.running();
  if (!goes_on) return abandon();
  impl.abandoned = true;
  impl.letting_go = true;
  impl.folder.clear();  // the stages go on working there
  impl.programs.let_go();
}

Awaitable<void> PartHost::finished() {
  auto impl = impl_;
  while (impl->state != Impl::State::over) co_await impl->changed.wait();
  co_await impl->tasks.wait();
}

}  // namespace sluice::node
