#include "worker/session_programs.h"

#include <fmt/format.h>

#include <boost/asio/post.hpp>
#include <csignal>
#include <utility>

#include "node/condition.h"
#include "sluice/v1/roles.pb.h"

namespace sluice::worker {

namespace asio = net::asio;
using net::Awaitable;

namespace {

// What a program that does nothing about a signal dies by; the library does nothing about those of a flow.
bool ends_a_program(int signal) {
  switch (signal) {
    case SIGCHLD:
    case SIGCONT:
    case SIGSTOP:
    case SIGTSTP:
    case SIGTTIN:
    case SIGTTOU:
    case SIGURG:
    case SIGWINCH:
      return false;
    default:
      return true;
  }
}

class SessionJobs final : public exec::Jobs {
 public:
  explicit SessionJobs(Sessions& sessions) : sessions_(sessions) {}

  std::expected<void, int> start(exec::JobNumber job, std::uint32_t, std::vector<std::string>,
                                 const Streams& streams) override {
    return sessions_.start(job, streams.input);
  }
  void release_input(exec::JobNumber) override {}
  void signal(exec::JobNumber job, int signal) override {
    if (ends_a_program(signal)) sessions_.cut(job, signal);
  }
  void close() override { sessions_.close(); }
  int descriptor() const override { return sessions_.descriptor(); }
  bool is_open() const override { return sessions_.is_open(); }
  bool wants_write() const override { return false; }
  void flush() override {}
  bool receive() override { return sessions_.receive(); }
  std::optional<exec::JobEvent> poll_event() override { return sessions_.poll_event(); }

 private:
  Sessions& sessions_;
};

class SessionProgram final : public node::RoleProgram {
 public:
  SessionProgram(asio::any_io_executor executor, Sessions& sessions)
      : sessions_(sessions), idle_(std::make_shared<node::Condition>(executor)) {
    sessions_.on_idle([executor, idle = idle_] { asio::post(executor, [idle] { idle->notify(); }); });
    sessions_.open();
  }
  ~SessionProgram() override { sessions_.on_idle({}); }

  std::unique_ptr<exec::Jobs> take_jobs() override { return std::make_unique<SessionJobs>(sessions_); }
  void signal(int number) override {
    if (ends_a_program(number)) sessions_.cut(number);
  }
  void kill() override { sessions_.kill(); }
  Awaitable<void> wait() override {
    while (!sessions_.idle()) co_await idle_->wait();
  }

 private:
  Sessions& sessions_;
  std::shared_ptr<node::Condition> idle_;  // what was posted may outlive us
};

class SessionPrograms final : public node::RolePrograms {
 public:
  SessionPrograms(asio::any_io_executor executor, Sessions& sessions)
      : executor_(std::move(executor)), sessions_(sessions) {}

  std::expected<std::unique_ptr<node::RoleProgram>, std::string> start(const v1::RoleTask& task) override {
    if (!task.worker())
      return std::unexpected(
          fmt::format("its stage {} is for a program that reads records from its stdin; start one with "
                      "`sluice worker`",
                      task.stage() + 1));
    return std::make_unique<SessionProgram>(executor_, sessions_);
  }
  Awaitable<void> run() override { co_return; }
  void close() override {}

 private:
  asio::any_io_executor executor_;
  Sessions& sessions_;
};

}  // namespace

std::unique_ptr<node::RolePrograms> session_programs(asio::any_io_executor executor, Sessions& sessions) {
  return std::make_unique<SessionPrograms>(std::move(executor), sessions);
}

}  // namespace sluice::worker
