#include "node/kept_flows_end.h"

#include <poll.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <optional>
#include <utility>
#include <variant>

#include "exec/kept_flow.h"
#include "exec/spawner_client.h"

namespace sluice::node {
namespace {

// As the new owner of a part that runs; its programs are told to end.
std::optional<exec::SpawnerClient> tell_to_end(const std::string& part_folder) {
  auto state = exec::read_kept(part_folder);
  auto* running = state ? std::get_if<exec::KeptRunning>(&*state) : nullptr;
  if (running == nullptr) return std::nullopt;
  auto spawner = exec::SpawnerClient::attach(part_folder);
  if (!spawner) return std::nullopt;
  exec::SendSignal request{.signal = SIGTERM, .strays_too = true, .then_continue = true};
  std::size_t programs = running->record ? running->record->programs.size() : 0;
  for (std::size_t i = 0; i < programs; ++i) request.programs.push_back(static_cast<exec::ProgramIndex>(i));
  spawner->send(request);
  return std::move(*spawner);
}

std::vector<exec::SpawnerClient> tell_all_to_end(const std::string& data_directory) {
  std::vector<exec::SpawnerClient> spawners;
  std::error_code ignored;
  for (const auto& flow : std::filesystem::directory_iterator(data_directory + "/flows", ignored))
    for (const auto& part : std::filesystem::directory_iterator(flow.path(), ignored))
      if (auto spawner = tell_to_end(part.path())) spawners.push_back(std::move(*spawner));
  return spawners;
}

// A spawner whose owner has attached closes the connection when it ends.
bool has_ended(exec::SpawnerClient& spawner) {
  spawner.flush();
  while (true) {
    auto event = spawner.poll_event();
    if (!event) return true;
    if (!event->has_value()) return false;
  }
}

void await_ends(std::vector<exec::SpawnerClient>& spawners, std::vector<bool>& ended, TimePoint deadline) {
  while (true) {
    std::vector<pollfd> polled;
    for (std::size_t i = 0; i < spawners.size(); ++i) {
      if (!ended[i]) ended[i] = has_ended(spawners[i]);
      short events = spawners[i].wants_write() ? POLLIN | POLLOUT : POLLIN;
      if (!ended[i]) polled.push_back({.fd = spawners[i].descriptor(), .events = events, .revents = 0});
    }
    auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (polled.empty() || left <= 0) return;
    ::poll(polled.data(), polled.size(), static_cast<int>(left));
  }
}

}  // namespace

void end_kept_flows(const std::vector<std::string>& data_directories, Duration grace, Duration patience) {
  TimePoint begin = Clock::now();
  std::vector<exec::SpawnerClient> spawners;
  for (const std::string& directory : data_directories)
    for (exec::SpawnerClient& spawner : tell_all_to_end(directory)) spawners.push_back(std::move(spawner));
  std::vector<bool> ended(spawners.size(), false);
  await_ends(spawners, ended, begin + grace);
  for (std::size_t i = 0; i < spawners.size(); ++i)
    if (!ended[i]) spawners[i].send(exec::EndAll{});
  await_ends(spawners, ended, begin + patience);
}

}  // namespace sluice::node
