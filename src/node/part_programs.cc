#include "node/part_programs.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <utility>

#include "flow/quoting.h"
#include "node/flow_messages.h"
#include "sluice/v1/host.pb.h"

namespace sluice::node {
namespace {

namespace asio = net::asio;
using net::Awaitable;
constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);

constexpr std::chrono::milliseconds kOutOfDescriptorsPause{50};
constexpr std::size_t kErrorOutputSize = std::size_t{32} << 10;  // of one message
// What the stages have said is in the pipe when they have ended; what is spared may go on writing to it.
constexpr int kLateErrorReads = 8;

}  // namespace

struct PartPrograms::SpawnerWatch {
  asio::posix::stream_descriptor descriptor;
  ~SpawnerWatch() { descriptor.release(); }  // it is the spawner client's
};

struct PartPrograms::ErrorReader {
  asio::posix::stream_descriptor descriptor;
  std::string buffer;
};

PartPrograms::PartPrograms(PartSurroundings& surroundings, PartOwner& owner, const v1::Prepare& prepare)
    : surroundings_(surroundings), owner_(owner), prepare_(prepare) {}

PartPrograms::~PartPrograms() = default;

void PartPrograms::watch(std::unique_ptr<SpawnerUse> use, std::vector<exec::Program> programs,
                         std::vector<ProgramPlace> places, std::vector<PartStreams::ErrorEnd> errors,
                         link::PipeObserver output) {
  spawner_ = std::move(use);
  programs_ = std::move(programs);
  places_ = std::move(places);
  errors_ = std::move(errors);
  output_ = std::move(output);
  over_ = false;
  owner_.spawn(read_spawner());
  flush();
}

// --- what the spawner says ----------------------------------------------------------------------------------------

Awaitable<void> PartPrograms::read_spawner() {
  exec::SpawnerClient& client = spawner_->client();
  watch_.reset(new SpawnerWatch{asio::posix::stream_descriptor(surroundings_.executor(), client.descriptor())});
  while (!over_ && !letting_go_) {
    auto event = client.poll_event();
    if (!event) {
      on_spawner_lost(event.error());
      break;
    }
    if (event->has_value())
      std::visit([this](const auto& message) { handle(message); }, **event);
    else
      co_await watch_->descriptor.async_wait(asio::posix::stream_descriptor::wait_read, kTuple);
  }
  watch_.reset();
  spawner_.reset();
  over_ = true;
  owner_.check_over();
}

void PartPrograms::on_spawner_lost(const std::string& why) {
  over_ = true;
  if (detached_) return;  // a client's own goes at once
  surroundings_.log().error("spawner lost", {{"flow", prepare_.flow_id()}, {"reason", why}});
  owner_.fail(kRefusedStatus, "the spawner of the stages was killed; they ended with it");
}

void PartPrograms::handle(const exec::Started& started) {
  std::vector<link::PipeObserver> pipes;
  for (std::uint32_t i = 0; i < started.observers; ++i) pipes.emplace_back(spawner_->client().take_descriptor());
  if (is_row(prepare_) && !programs_.empty()) {  // whose they are is known of a row
    pipes.resize(programs_.size() - 1);          // out of descriptors, some are missing
    pipes.push_back(std::move(output_));
  } else {
    pipes.clear();
  }
  progress_.on_started(started, std::move(pipes), places_);
  owner_.on_programs_started(started.pids);
}

bool PartPrograms::one_a_stage() const { return places_.size() == static_cast<std::size_t>(prepare_.stages_size()); }

const v1::StageText& PartPrograms::text_of(exec::ProgramIndex program) const {
  return prepare_.stages(static_cast<int>(places_[program].stage));
}

void PartPrograms::handle(const exec::LaunchFailed& failure) {
  if (failure.program >= programs_.size())
    return owner_.fail(kRefusedStatus, fmt::format("cannot {} the part: {}; nothing is left running", failure.action,
                                                   std::strerror(failure.error)));
  const v1::StageText& stage = text_of(failure.program);
  const exec::Program& program = programs_[failure.program];
  bool executing = failure.action == "execute";
  bool file_is_there = ::access(program.path.c_str(), F_OK) == 0;
  std::string why = std::strerror(failure.error);
  if (executing && failure.error == ENOENT && file_is_there) why = "its interpreter is missing";
  if (failure.error == EMFILE || failure.error == ENFILE) why += "; raise the limit (ulimit -n)";
  if (failure.error == EAGAIN) why += "; raise the limit (ulimit -u)";
  const std::string& what = executing ? program.path : stage.command();
  int status = !executing ? kRefusedStatus : failure.error == ENOENT ? 127 : 126;
  owner_.fail(status,
              fmt::format("{}: cannot {} {}: {}; nothing is left running", title_of(stage), failure.action,
                          flow::on_one_line(what, 60), why),
              static_cast<int>(stage.index()));
}

void PartPrograms::handle(const exec::Exited& exited) {
  progress_.on_exited(exited);
  owner_.on_program_exited(exited);
}

void PartPrograms::handle(const exec::Childless&) {
  over_ = true;
  owner_.on_programs_childless();
}

void PartPrograms::handle(const exec::Survey& survey) {
  v1::HostEvent event;
  v1::SurveyResult& result = *event.mutable_survey();
  for (const exec::Stray& stray : survey.strays) {
    v1::Stray& message = *result.add_strays();
    message.set_pid(stray.pid);
    message.set_name(stray.name);
    message.set_drains_pipe(stray.drains_pipe);
  }
  owner_.emit(std::move(event));
}

// --- what the programs say ----------------------------------------------------------------------------------------

void PartPrograms::read_errors() {
  for (PartStreams::ErrorEnd& error : errors_) {
    ++open_errors_;
    owner_.spawn(read_error(std::move(error.read_end), error.stage));
  }
  errors_.clear();
}

Awaitable<void> PartPrograms::read_error(UniqueFd from, std::uint32_t stage) {
  ErrorReader reader{.descriptor = asio::posix::stream_descriptor(surroundings_.executor(), from.release()),
                     .buffer = std::string(kErrorOutputSize, '\0')};
  error_readers_.insert(&reader);
  for (int late_reads = 0; late_reads < kLateErrorReads; late_reads += detached_ ? 1 : 0) {
    std::size_t size = co_await read_some(reader);
    if (size == 0) break;
    v1::HostEvent event;
    event.mutable_error_output()->set_stage(stage);
    event.mutable_error_output()->set_bytes(reader.buffer.data(), size);
    owner_.emit(std::move(event));
    co_await owner_.room();
  }
  error_readers_.erase(&reader);
  --open_errors_;
  owner_.check_over();
}

// Nothing: the end, or all that was there when the programs were left.
Awaitable<std::size_t> PartPrograms::read_some(ErrorReader& reader) {
  if (!detached_) {
    auto [error, size] = co_await reader.descriptor.async_read_some(asio::buffer(reader.buffer), kTuple);
    if (!error) co_return size;
    if (!detached_) co_return 0;
  }
  boost::system::error_code error;
  reader.descriptor.non_blocking(true, error);
  std::size_t size = reader.descriptor.read_some(asio::buffer(reader.buffer), error);
  co_return error ? 0 : size;
}

// --- commands -----------------------------------------------------------------------------------------------------

void PartPrograms::signal(const v1::Signal& signal) {
  if (!spawner_) return;
  exec::SendSignal request{
      .signal = signal.number(), .strays_too = signal.strays_too(), .then_continue = signal.then_continue()};
  for (std::uint32_t stage : signal.stages())
    for (exec::ProgramIndex i = 0; i < programs_.size(); ++i)
      if (text_of(i).index() == stage) request.programs.push_back(i);
  spawner_->client().send(request);
  wake();
}

void PartPrograms::survey() {
  if (spawner_) return spawner_->client().send(exec::RequestSurvey{});
  v1::HostEvent event;
  event.mutable_survey();
  owner_.emit(std::move(event));
}

void PartPrograms::kill() {
  if (!spawner_ || detached_) return;
  spawner_->client().send(exec::EndAll{});
  wake();
}

void PartPrograms::detach() {
  if (!spawner_ || detached_) return;
  detached_ = true;
  for (ErrorReader* reader : error_readers_) reader->descriptor.cancel();
  spawner_->client().send(exec::Detach{});
  flush();
}

void PartPrograms::release_input(exec::ProgramIndex program) {
  if (spawner_) spawner_->client().send(exec::ReleaseInput{program});
}

void PartPrograms::let_go() {
  letting_go_ = true;
  if (watch_) watch_->descriptor.cancel();
}

// A stage can stop its parent (kill -STOP $PPID); what must be ended must not wait for that.
void PartPrograms::wake() {
  if (spawner_->client().pid() > 0) ::kill(spawner_->client().pid(), SIGCONT);
  flush();
}

void PartPrograms::flush() {
  if (spawner_ && spawner_->client().wants_write()) owner_.spawn(flush_all());
}

Awaitable<void> PartPrograms::flush_all() {
  while (spawner_ && spawner_->client().wants_write()) {
    UniqueFd copy(::fcntl(spawner_->client().descriptor(), F_DUPFD_CLOEXEC, 3));
    if (copy) {
      asio::posix::stream_descriptor descriptor(surroundings_.executor(), copy.release());
      co_await descriptor.async_wait(asio::posix::stream_descriptor::wait_write, kTuple);
    } else {  // out of descriptors: it is worth another try soon
      asio::steady_timer pause(surroundings_.executor(), kOutOfDescriptorsPause);
      co_await pause.async_wait(kTuple);
    }
    if (spawner_) spawner_->client().flush();
  }
}

}  // namespace sluice::node
