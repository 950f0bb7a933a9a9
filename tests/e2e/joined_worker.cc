// A worker that joins, for joined_test.py: joined_worker NODE CERTIFICATE MODE... Its role is `double`; for each number
// it writes twice that, and WHO. Modes:
//   --once           returns after one flow
//   --slow N         a number that ends in N waits in its handler until the file `go` is there
//   --stick N        its Nth record waits so; at the end it says how many it was given
//   --late           every number is answered by a thread, when the file `go` is there; it says how many it has had
//   --child          the first number starts a child, which sleeps, and prints its number
//   --throw          the first number throws what is no std::exception, out of run()
//   --exit           the first number calls exit(7)
//   --end            the tenth number calls end()
//   --own-signal     has a handler for SIGTERM of its own, which says so
//   --starts         says each on_start
//   --two            has a second worker, in a thread of its own, for the role `triple`
// NODE may be several, with commas between them.
// What becomes of the signals when run() has returned, it says.
#include <sluice/joined_worker.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace {

// What stands behind it; empty: nothing. Null: it is not there.
const char* option(char** arguments, const char* name) {
  for (; *arguments != nullptr; ++arguments)
    if (std::strcmp(*arguments, name) == 0) return arguments[1] != nullptr ? arguments[1] : "";
  return nullptr;
}

bool has(char** arguments, const char* name) { return option(arguments, name) != nullptr; }

void wait_for_go() {
  while (::access("go", F_OK) != 0) ::usleep(5000);
}

void answer(const sluice::Input& input, const std::string& number) {
  const char* who = std::getenv("WHO");
  input.write(std::to_string(2 * std::stol(number)) + " " + (who != nullptr ? who : "nobody"));
  input.done();
}

std::vector<std::string> split(std::string_view text) {
  std::vector<std::string> parts;
  for (std::size_t at = 0; at < text.size();) {
    std::size_t comma = std::min(text.find(',', at), text.size());
    parts.emplace_back(text.substr(at, comma - at));
    at = comma + 1;
  }
  return parts;
}

int triple(sluice::JoinOptions options) {
  sluice::Worker worker;
  options.role = "triple";
  worker.join(std::move(options));
  worker.on_data([](std::string_view record, sluice::Input input) {
    input.write(record);
    input.done();
  });
  return worker.run();
}

void own_handler(int) { (void)!::write(STDERR_FILENO, "own handler\n", 12); }

const char* effect_of(int signal) {
  struct sigaction now {};
  ::sigaction(signal, nullptr, &now);
  return now.sa_handler == SIG_DFL ? "default" : now.sa_handler == own_handler ? "own" : "other";
}

}  // namespace

int main(int, char** arguments) {
  if (has(arguments, "--own-signal")) ::signal(SIGTERM, own_handler);
  std::atomic<int> count{0};
  int stick_at = has(arguments, "--stick") ? std::atoi(option(arguments, "--stick")) : 0;
  // Threads of --late may outlive main().
  auto& worker = *new sluice::Worker;
  worker.concurrency(has(arguments, "--late") ? 100 : 4);
  sluice::JoinOptions options;
  options.role = std::getenv("ROLE") != nullptr ? std::getenv("ROLE") : "double";
  options.nodes = split(arguments[1]);
  options.certificate = arguments[2];
  options.once = has(arguments, "--once");
  worker.join(options);
  if (has(arguments, "--starts")) worker.on_start([] { std::fprintf(stderr, "it starts\n"); });
  worker.on_data([&](std::string_view record, sluice::Input input) {
    std::string number(record);
    int nth = ++count;
    if (const char* last = option(arguments, "--slow"); last != nullptr && number.back() == *last) wait_for_go();
    if (nth == stick_at) {
      std::fprintf(stderr, "it sticks\n");
      wait_for_go();
    }
    if (has(arguments, "--exit")) std::exit(7);
    if (has(arguments, "--throw")) throw 5;
    if (has(arguments, "--child") && nth == 1) std::system("sleep 1000 & echo child $! >&2");
    if (has(arguments, "--end") && nth == 10) worker.end();
    if (has(arguments, "--late")) {
      std::fprintf(stderr, "it has %d\n", nth);
      std::thread([input, number] {
        wait_for_go();
        answer(input, number);
      }).detach();
    } else {
      answer(input, number);
    }
  });
  std::thread second;
  int its_status = 0;
  if (has(arguments, "--two")) second = std::thread([&] { its_status = triple(options); });
  int status = 0;
  try {
    status = worker.run();
  } catch (int thrown) {
    std::fprintf(stderr, "thrown %d\n", thrown);
  }
  if (second.joinable()) second.join();
  status += its_status;
  if (stick_at > 0) std::fprintf(stderr, "given %d\n", count.load());
  std::fprintf(stderr, "returned %d; SIGTERM %s, SIGINT %s\n", status, effect_of(SIGTERM), effect_of(SIGINT));
  return status;
}
