#include "link/line_merge.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <utility>

#include "base/require.h"
#include "link/stoppable_thread.h"

namespace sluice::link {

// --- the machine --------------------------------------------------------------------------------------------------

LineMergeMachine::LineMergeMachine(std::vector<std::string> marks) : open_(marks.size()), holder_(marks.size()) {
  for (std::string& mark : marks) inputs_.push_back({.mark = std::move(mark)});
}

bool LineMergeMachine::wants(std::size_t input) const {
  return !inputs_[input].ended && (holder_ == inputs_.size() || holder_ == input);
}

void LineMergeMachine::on_bytes(std::size_t input, std::string_view bytes) {
  REQUIRE(wants(input));
  std::size_t last_end = bytes.rfind('\n');
  if (last_end != std::string_view::npos) {
    put_lines(input, bytes.substr(0, last_end + 1));
    bytes.remove_prefix(last_end + 1);
  }
  Input& from = inputs_[input];
  from.pending.append(bytes);
  if (from.pending.size() < kLineBufferMax && !from.in_long_line) return;
  put_unfinished(from);
  if (from.in_long_line) holder_ = input;
}

void LineMergeMachine::put_lines(std::size_t index, std::string_view bytes) {
  Input& input = inputs_[index];
  while (!bytes.empty()) {
    std::size_t length = bytes.find('\n') + 1;
    if (!input.in_long_line) output_ += input.mark;
    output_ += input.pending;
    output_ += bytes.substr(0, length);
    input.pending.clear();
    input.in_long_line = false;
    bytes.remove_prefix(length);
  }
  if (holder_ == index) holder_ = inputs_.size();
}

void LineMergeMachine::put_unfinished(Input& input) {
  if (input.pending.empty()) return;
  if (!input.in_long_line) output_ += input.mark;
  output_ += input.pending;
  input.pending.clear();
  input.in_long_line = true;
}

void LineMergeMachine::on_end(std::size_t input) {
  Input& from = inputs_[input];
  REQUIRE(!from.ended);
  put_unfinished(from);
  if (from.in_long_line) output_ += '\n';
  from.in_long_line = false;
  if (holder_ == input) holder_ = inputs_.size();
  from.ended = true;
  --open_;
}

std::string LineMergeMachine::take_output() { return std::exchange(output_, std::string()); }

// --- the shell ----------------------------------------------------------------------------------------------------

namespace {

constexpr std::size_t kReadSize = std::size_t{64} << 10;

class Merger final {
 public:
  Merger(std::vector<UniqueFd> inputs, std::vector<std::string> marks, UniqueFd output)
      : machine_(std::move(marks)), inputs_(std::move(inputs)), output_(std::move(output)) {}

  MergeEnd run(int stop) {
    stop_ = stop;
    while (!machine_.finished()) {
      if (!wait_for_input()) return MergeEnd::reader_gone;
      for (std::size_t i = 0; i < inputs_.size(); ++i)
        if (ready_[i] && machine_.wants(i)) read(i);  // not if one before it has just begun a long line
      std::string output = machine_.take_output();
      if (auto end = write(output); end != MergeEnd::ended) return end;
    }
    return MergeEnd::ended;
  }

 private:
  // False: told to stop, or the reader has gone while nothing was written.
  bool wait_for_input() {
    std::vector<pollfd> polled = {{.fd = stop_, .events = POLLIN, .revents = 0},
                                  {.fd = output_.get(), .events = 0, .revents = 0}};
    std::vector<std::size_t> whose;
    ready_.assign(inputs_.size(), false);
    for (std::size_t i = 0; i < inputs_.size(); ++i)
      if (machine_.wants(i)) {
        polled.push_back({.fd = inputs_[i].get(), .events = POLLIN, .revents = 0});
        whose.push_back(i);
      }
    while (::poll(polled.data(), polled.size(), -1) < 0)
      if (errno != EINTR) return false;
    if (polled[0].revents != 0 || (polled[1].revents & (POLLERR | POLLHUP)) != 0) return false;
    for (std::size_t i = 0; i < whose.size(); ++i) ready_[whose[i]] = polled[i + 2].revents != 0;
    return true;
  }

  void read(std::size_t input) {
    buffer_.resize(kReadSize);
    ssize_t got = ::read(inputs_[input].get(), buffer_.data(), buffer_.size());
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) return;
    if (got > 0) return machine_.on_bytes(input, std::string_view(buffer_).substr(0, static_cast<std::size_t>(got)));
    machine_.on_end(input);
    inputs_[input].reset();
  }

  // No more at a time than a pipe surely has room for once it says so, so that a stop is noticed (pipe(7)).
  MergeEnd write(std::string_view bytes) {
    while (!bytes.empty()) {
      pollfd polled[] = {{.fd = stop_, .events = POLLIN, .revents = 0},
                         {.fd = output_.get(), .events = POLLOUT, .revents = 0}};
      if (::poll(polled, 2, -1) < 0 && errno != EINTR) return MergeEnd::failed;
      if (polled[0].revents != 0) return MergeEnd::reader_gone;
      if (polled[1].revents == 0) continue;
      ssize_t written = ::write(output_.get(), bytes.data(), std::min<std::size_t>(bytes.size(), PIPE_BUF));
      if (written < 0 && (errno == EINTR || errno == EAGAIN)) continue;
      if (written < 0) return errno == EPIPE ? MergeEnd::reader_gone : MergeEnd::failed;
      bytes.remove_prefix(static_cast<std::size_t>(written));
    }
    return MergeEnd::ended;
  }

  LineMergeMachine machine_;
  std::vector<UniqueFd> inputs_;
  UniqueFd output_;
  int stop_ = -1;
  std::vector<bool> ready_;
  std::string buffer_;
};

}  // namespace

struct LineMerge::Running {
  StoppableThread thread;
};

std::expected<LineMerge, int> LineMerge::start(std::vector<UniqueFd> inputs, std::vector<std::string> marks,
                                               UniqueFd output, std::function<void(MergeEnd)> on_end) {
  REQUIRE(inputs.size() == marks.size());
  auto running = std::make_unique<Running>();
  auto merger = std::make_unique<Merger>(std::move(inputs), std::move(marks), std::move(output));
  auto started = running->thread.start([merger = std::move(merger), on_end = std::move(on_end)](int stop) mutable {
    MergeEnd end = merger->run(stop);
    merger.reset();
    on_end(end);
  });
  if (!started) return std::unexpected(started.error());
  return LineMerge(std::move(running));
}

LineMerge::LineMerge(std::unique_ptr<Running> running) : running_(std::move(running)) {}
LineMerge::LineMerge(LineMerge&&) noexcept = default;
LineMerge::~LineMerge() = default;

}  // namespace sluice::link
