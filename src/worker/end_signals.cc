#include "worker/end_signals.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <mutex>
#include <utility>

namespace sluice::worker {
namespace {

constexpr std::array kSignals = {SIGTERM, SIGINT};

// A signal handler is given nothing, so what it needs is here: 0 for a free place, else a descriptor and 1.
std::array<std::atomic<int>, kEndSignalsMax> g_places{};
std::array<std::atomic<bool>, kSignals.size()> g_taken{};
std::mutex g_mutex;  // of those who come and go

void put_back(std::size_t index) {
  struct sigaction standard {};
  standard.sa_handler = SIG_DFL;
  ::sigaction(kSignals[index], &standard, nullptr);
}

void on_signal(int) {
  int before = errno;
  for (std::size_t i = 0; i < kSignals.size(); ++i)
    if (g_taken[i].exchange(false)) put_back(i);
  std::uint64_t one = 1;
  for (const std::atomic<int>& place : g_places)
    if (int descriptor = place.load() - 1; descriptor >= 0) (void)!::write(descriptor, &one, sizeof one);
  errno = before;
}

bool has_handler(int signal, void (*handler)(int)) {
  struct sigaction now {};
  return ::sigaction(signal, nullptr, &now) == 0 && (now.sa_flags & SA_SIGINFO) == 0 && now.sa_handler == handler;
}

void take() {
  for (std::size_t i = 0; i < kSignals.size(); ++i) {
    if (g_taken[i] || !has_handler(kSignals[i], SIG_DFL)) continue;
    struct sigaction ours {};
    ours.sa_handler = on_signal;
    ours.sa_flags = SA_RESTART;  // what the program waits for is not interrupted
    for (int signal : kSignals) ::sigaddset(&ours.sa_mask, signal);
    g_taken[i] = true;
    ::sigaction(kSignals[i], &ours, nullptr);
  }
}

void give_back() {
  for (std::size_t i = 0; i < kSignals.size(); ++i)
    if (g_taken[i].exchange(false) && has_handler(kSignals[i], on_signal)) put_back(i);
}

}  // namespace

std::optional<EndSignals> EndSignals::watch(int asked) {
  std::lock_guard lock(g_mutex);
  auto* free = std::ranges::find_if(g_places, [](const auto& place) { return place == 0; });
  if (free == g_places.end()) return std::nullopt;
  *free = asked + 1;
  take();
  return EndSignals(static_cast<std::size_t>(free - g_places.begin()));
}

EndSignals::EndSignals(EndSignals&& other) noexcept : place_(std::exchange(other.place_, std::nullopt)) {}

EndSignals::~EndSignals() {
  if (!place_) return;
  std::lock_guard lock(g_mutex);
  g_places[*place_] = 0;
  if (std::ranges::all_of(g_places, [](const auto& place) { return place == 0; })) give_back();
}

}  // namespace sluice::worker
