// The conformance worker of the C++ library (tests/conformance/README.md). With SLUICE_JOINS defined it joins the node
// at the socket that SLUICE_CONFORMANCE_NODE names, in place of the stage that has started it.
#include <sluice/worker.h>
#ifdef SLUICE_JOINS
#include <sluice/joined_worker.h>

#include <cstdlib>
#endif

#include <chrono>
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace {

const char* option(int count, char** arguments, const char* name) {
  for (int i = 1; i + 1 < count; ++i)
    if (std::strcmp(arguments[i], name) == 0) return arguments[i + 1];
  return nullptr;
}

bool has(int count, char** arguments, const char* name) {
  for (int i = 1; i < count; ++i)
    if (std::strcmp(arguments[i], name) == 0) return true;
  return false;
}

void answer(sluice::Input input, std::string_view output) {
  input.write(output);
  input.done();
}

std::pair<std::string_view, std::string_view> split(std::string_view bytes) {
  std::size_t colon = bytes.find(':');
  if (colon == std::string_view::npos) return {"", bytes};
  return {bytes.substr(0, colon), bytes.substr(colon + 1)};
}

template <class Action>
void later(std::string_view milliseconds, Action action) {
  std::thread([wait = std::chrono::milliseconds(std::stoi(std::string(milliseconds))), action] {
    std::this_thread::sleep_for(wait);
    action();
  }).detach();
}

int run_source(sluice::Worker& worker, const std::string& count) {
  std::uint64_t number = 0;
  bool endless = count == "endless", slow = count == "slow";
  std::uint64_t end = endless || slow ? 0 : std::stoull(count);
  return worker.source([&](sluice::Worker& out) {
    if (slow && number == 1) std::this_thread::sleep_for(std::chrono::hours(1));
    if (!endless && !slow && number == end) return false;
    out.write(std::to_string(number++));
    return true;
  });
}

}  // namespace

int main(int count, char** arguments) {
  // Threads of `later` may outlive main().
  auto& worker = *new sluice::Worker;
#ifdef SLUICE_JOINS
  const char* node = std::getenv("SLUICE_CONFORMANCE_NODE");
  sluice::JoinOptions options;
  options.role = "conformance";
  options.nodes = {node != nullptr ? node : ""};
  options.once = true;
  worker.join(options);
#endif
  if (const char* source = option(count, arguments, "--source")) return run_source(worker, source);
  if (const char* records = option(count, arguments, "--concurrency"))
    worker.concurrency(static_cast<std::uint32_t>(std::stoul(records)));
  std::vector<sluice::Input> held;
  std::vector<std::pair<sluice::Input, std::string>> batch;
  worker.on_data([&](std::string_view record, sluice::Input input) {
    auto [verb, argument] = split(record);
    if (verb == "echo") {
      answer(input, argument);
    } else if (verb == "many") {
      auto [times, output] = split(argument);
      for (int i = std::stoi(std::string(times)); i > 0; --i) input.write(output);
      input.done();
    } else if (verb == "none") {
      input.done();
    } else if (verb == "size") {
      answer(input, std::to_string(record.size()));
    } else if (verb == "attempt") {
      answer(input, std::to_string(input.id()) + " " + std::to_string(input.attempt()));
    } else if (verb == "fail") {
      input.write("dropped");
      input.fail(argument);
    } else if (verb == "throw") {
      throw std::runtime_error(std::string(argument));
    } else if (verb == "hold") {
      held.push_back(input);
      worker.write("held");
    } else if (verb == "release") {
      for (; !held.empty(); held.pop_back()) answer(held.back(), "released");
      input.done();
    } else if (verb == "batch") {
      batch.emplace_back(input, std::string(argument));
    } else if (verb == "later") {
      auto [milliseconds, output] = split(argument);
      later(milliseconds, [input, text = std::string(output)] { answer(input, text); });
    } else if (verb == "block") {
      auto [milliseconds, output] = split(argument);
      std::this_thread::sleep_for(std::chrono::milliseconds(std::stoi(std::string(milliseconds))));
      answer(input, output);
    } else if (verb == "long") {
      answer(input, std::string(std::stoul(std::string(argument)), 'x'));
    } else if (verb == "pause") {
      worker.pause();
      input.done();
      later(argument, [&worker] { worker.resume(); });
    } else if (verb == "concurrency") {
      worker.concurrency(static_cast<std::uint32_t>(std::stoul(std::string(argument))));
      input.done();
    } else if (verb == "leave") {
      worker.end();
      input.done();
    } else if (verb == "print") {
      std::printf("%.*s\n", static_cast<int>(argument.size()), argument.data());
      input.done();
    } else {
      answer(input, record);
    }
  });
  worker.on_idle([&] {
    for (auto& [input, output] : batch) answer(input, output);
    batch.clear();
  });
  if (has(count, arguments, "--last-words")) worker.on_end([&] { worker.write("last words"); });
  return worker.run();
}
