#include "node/dev_cluster.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/pipe.h"
#include "base/time.h"
#include "cluster/cluster_key.h"
#include "net/socket_address.h"
#include "node/kept_flows_end.h"

namespace sluice::node {
namespace {

using namespace std::chrono_literals;
using Refusal = std::unexpected<DevStop>;

constexpr Duration kStartTime = 10s;
constexpr Duration kEndTime = 10s;   // nodes end within their own grace; beyond this they are killed
constexpr Duration kFlowGrace = 2s;  // as of `sluice stop`

[[noreturn]] void become_node(const std::vector<std::string>& arguments, int output, int log) {
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  ::setpgid(0, 0);  // the terminal's Ctrl-C is for us: the nodes end in order
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  UniqueFd null(::open("/dev/null", O_RDONLY));
  ::dup2(null.get(), STDIN_FILENO);
  ::dup2(output, STDOUT_FILENO);
  ::dup2(log, STDERR_FILENO);
  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  ::execv("/proc/self/exe", argv.data());
  ::_exit(127);
}

std::string text_of(const nlohmann::json& line, const char* key) {
  return line.contains(key) && line[key].is_string() ? line[key].get<std::string>() : "";
}

// What a user of `dev` wants to see; the rest of the log is for those who run a node.
std::string describe(const nlohmann::json& line, const std::string& whose, bool first) {
  std::string event = text_of(line, "event");
  if (first && event == "node joined") return fmt::format("{} joined", text_of(line, "node"));
  if (first && event == "node left") return fmt::format("{} left", text_of(line, "node"));
  if (first && event == "node lost")
    return fmt::format("{} was lost ({})", text_of(line, "node"), text_of(line, "reason"));
  if (event == "flow started")
    return fmt::format("flow {} on {}: {}", text_of(line, "flow").substr(0, 8), whose, text_of(line, "text"));
  if (event == "flow ended")
    return fmt::format("flow {} ended with status {}", text_of(line, "flow").substr(0, 8), line.value("status", 0));
  if (text_of(line, "level") == "error") return fmt::format("{}: {}", whose, event);
  return {};
}

}  // namespace

std::expected<DevCluster, DevStop> DevCluster::start(std::size_t count, Signals& signals) {
  DevCluster cluster(signals);
  const char* temporary = std::getenv("TMPDIR");
  std::string folder = fmt::format("{}/sluice-dev-XXXXXX", temporary == nullptr ? "/tmp" : temporary);
  if (::mkdtemp(folder.data()) == nullptr)
    return Refusal(DevStop{fmt::format("cannot make a folder like {}: {}", folder, std::strerror(errno))});
  cluster.folder_ = folder;
  cluster.key_file_ = folder + "/cluster.key";
  if (auto written = cluster::write_key_file(cluster.key_file_, cluster::ClusterKey::generate()); !written)
    return Refusal(DevStop{written.error().message});
  for (std::size_t i = 1; i <= count; ++i)
    if (auto added = cluster.add_node(fmt::format("n{}", i)); !added) return Refusal(added.error());
  return cluster;
}

std::expected<void, DevStop> DevCluster::add_node(const std::string& name) {
  DevNode node{.name = name, .data = folder_ + "/" + name};
  std::vector<std::string> arguments = {"sluice", "start",        "--no-config", "--listen",    "127.0.0.1:0",
                                        "--data", node.data,      "--key",       key_file_,     "--name",
                                        name,     "--log-format", "json",        "--log-level", "debug"};
  if (!nodes_.empty()) arguments.insert(arguments.end(), {"--join", nodes_[0].url});
  auto output = make_pipe(), log = make_pipe();
  if (!output || !log)
    return Refusal(DevStop{fmt::format("cannot make the pipes of {}: raise the limit (ulimit -n)", name)});
  pid_t pid = ::fork();
  if (pid < 0) return Refusal(DevStop{fmt::format("cannot start {}: {}", name, std::strerror(errno))});
  if (pid == 0) become_node(arguments, output->write_end.get(), log->write_end.get());
  output->write_end.reset();
  log->write_end.reset();
  node.pid = pid;
  node.log = std::move(log->read_end);
  nodes_.push_back(std::move(node));
  auto url = read_url(output->read_end.get());
  if (!url) return Refusal(url.error());
  nodes_.back().url = *url;
  if (url->starts_with("sluice://")) return {};
  std::string why(4096, '\0');
  ssize_t got = ::read(nodes_.back().log.get(), why.data(), why.size());
  why.resize(static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
  return Refusal(DevStop{fmt::format("{} did not come up: {}", name, why.substr(0, why.find('\n')))});
}

// The first line, or what arrived of it before the node ended or the time was over.
std::expected<std::string, DevStop> DevCluster::read_url(int fd) {
  TimePoint deadline = Clock::now() + kStartTime;
  std::string line;
  while (line.find('\n') == std::string::npos) {
    auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    pollfd polled[] = {{.fd = signals_->descriptor(), .events = POLLIN, .revents = 0},
                       {.fd = fd, .events = POLLIN, .revents = 0}};
    if (left <= 0 || ::poll(polled, 2, static_cast<int>(left)) <= 0) break;
    if (auto signal = signals_->next())
      return Refusal(DevStop{.message = "ended by a signal", .signal = signal->number});
    if (polled[1].revents == 0) continue;
    char buffer[512];
    ssize_t got = ::read(fd, buffer, sizeof buffer);
    if (got <= 0) break;
    line.append(buffer, static_cast<std::size_t>(got));
  }
  return line.substr(0, line.find('\n'));
}

int DevCluster::watch(const std::function<void(const std::string& event)>& on_event) {
  while (true) {
    std::vector<pollfd> polled = {{.fd = signals_->descriptor(), .events = POLLIN, .revents = 0}};
    for (const DevNode& node : nodes_) polled.push_back({.fd = node.log.get(), .events = POLLIN, .revents = 0});
    if (::poll(polled.data(), polled.size(), -1) < 0) continue;
    if (auto signal = signals_->next()) return signal->number;
    for (std::size_t i = 0; i < nodes_.size(); ++i)
      if (polled[i + 1].revents != 0) read_log(nodes_[i], on_event);
    if (std::ranges::none_of(nodes_, [](const DevNode& node) { return static_cast<bool>(node.log); })) return 0;
  }
}

void DevCluster::read_log(DevNode& node, const std::function<void(const std::string&)>& on_event) {
  char buffer[16384];
  ssize_t got = ::read(node.log.get(), buffer, sizeof buffer);
  if (got <= 0) {
    node.log.reset();
    ::waitpid(std::exchange(node.pid, 0), nullptr, 0);
    on_event(fmt::format("{} has ended", node.name));
    return;
  }
  node.log_rest.append(buffer, static_cast<std::size_t>(got));
  std::size_t end;
  while ((end = node.log_rest.find('\n')) != std::string::npos) {
    auto line = nlohmann::json::parse(node.log_rest.substr(0, end), nullptr, false);
    node.log_rest.erase(0, end + 1);
    std::string event = line.is_object() ? describe(line, node.name, &node == &nodes_.front()) : "";
    if (!event.empty()) on_event(event);
  }
}

void DevCluster::end() {
  for (const DevNode& node : nodes_)
    if (node.pid > 0) ::kill(node.pid, SIGTERM);
  TimePoint patience = Clock::now() + kEndTime;
  for (DevNode& node : nodes_) {
    if (node.pid == 0) continue;
    // A node that ends closes its log; nobody reads it any more, and it must not block on that.
    while (node.log && Clock::now() < patience) {
      pollfd polled{.fd = node.log.get(), .events = POLLIN, .revents = 0};
      if (::poll(&polled, 1, 100) <= 0) continue;
      char buffer[16384];
      if (::read(node.log.get(), buffer, sizeof buffer) <= 0) node.log.reset();
    }
    if (node.log) ::kill(node.pid, SIGKILL);
    ::waitpid(node.pid, nullptr, 0);
  }
  // A flow in the background goes on without its node, be it that we have ended it or that it was killed before.
  std::vector<std::string> data_directories;
  for (const DevNode& node : nodes_) data_directories.push_back(node.data);
  end_kept_flows(data_directories, kFlowGrace, kEndTime);
  nodes_.clear();
  std::error_code ignored;
  if (!folder_.empty()) std::filesystem::remove_all(folder_, ignored);
  folder_.clear();
}

DevCluster::~DevCluster() { end(); }

bool listens_at(const std::string& socket) {
  auto address = net::local_address(socket);
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!address || !fd) return false;
  bool connected = ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address->storage), address->size) == 0;
  return connected || errno == EAGAIN;  // it is busy
}

}  // namespace sluice::node
