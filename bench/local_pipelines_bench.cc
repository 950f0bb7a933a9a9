// How `sluice run` on one machine compares with the shells that people would use instead.
//
//   local_pipelines_bench SLUICE
//   local_pipelines_bench --spawn-loop N    starts `true` N times, two at a time: the least that N processes cost
//
// Every figure is the median of several runs; the runs of one row's programs take turns, so that a change of the
// machine's speed hits all of them alike, and ratios hold where absolute figures drift. SLUICE_BENCH_SCALE=0.1 makes it
// a quick look.
#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

extern char** environ;

namespace {

using Command = std::vector<std::string>;

struct Contender {
  std::string name;
  Command command;  // empty: absent on this machine
  std::vector<double> seconds;
  std::vector<double> cpu_seconds;
};

struct Cost {
  double seconds;
  double cpu_seconds;
};

double to_seconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
}

double cpu_of_children() {
  rusage usage{};
  ::getrusage(RUSAGE_CHILDREN, &usage);
  return to_seconds(usage.ru_utime) + to_seconds(usage.ru_stime);
}

// Output goes to /dev/null: what is timed is the run, not a terminal.
Cost time_once(const Command& command) {
  std::vector<char*> arguments;
  for (const std::string& argument : command) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  double cpu_before = cpu_of_children();
  auto start = std::chrono::steady_clock::now();
  pid_t pid = 0;
  if (posix_spawn(&pid, arguments[0], &actions, nullptr, arguments.data(), environ) != 0) {
    fmt::print(stderr, "cannot start {}\n", command[0]);
    std::exit(1);
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  posix_spawn_file_actions_destroy(&actions);
  if (status != 0) {
    fmt::print(stderr, "{} failed with wait status {}\n", fmt::join(command, " "), status);
    std::exit(1);
  }
  return {seconds, cpu_of_children() - cpu_before};
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

std::string find(const std::string& name) {
  for (const char* folder : {"/bin/", "/usr/bin/", "/usr/local/bin/"})
    if (::access((folder + name).c_str(), X_OK) == 0) return folder + name;
  return {};
}

Contender shell(const std::string& name, const std::string& text) {
  std::string path = find(name);
  return {.name = name, .command = path.empty() ? Command{} : Command{path, "-c", text}};
}

// A text of the shell that needs this tool.
Contender with_tool(const std::string& tool, const std::string& text) {
  bool absent = find(tool).empty() || find("bash").empty();
  return {.name = tool, .command = absent ? Command{} : Command{find("bash"), "-c", text}};
}

// `repeats` counted runs of each contender, in turns, each of `batch` runs of its command.
void race(std::vector<Contender>& contenders, int repeats, int batch) {
  for (int run = -1; run < repeats; ++run) {  // the first is a warm-up
    for (Contender& contender : contenders) {
      if (contender.command.empty()) continue;
      Cost total{0, 0};
      for (int i = 0; i < batch; ++i) {
        Cost cost = time_once(contender.command);
        total.seconds += cost.seconds;
        total.cpu_seconds += cost.cpu_seconds;
      }
      if (run < 0) continue;
      contender.seconds.push_back(total.seconds);
      contender.cpu_seconds.push_back(total.cpu_seconds);
    }
  }
}

struct Unit {
  const char* name;
  double per_second;  // figure = seconds * per_second, or amount / seconds if `rate`
  bool rate = false;
};

double figure(double seconds, const Unit& unit) {
  return unit.rate ? unit.per_second / seconds : seconds * unit.per_second;
}

void print_row(const std::string& what, const std::vector<Contender>& contenders, const Unit& unit,
               const std::string& goal) {
  fmt::print("\n{}   goal: {}\n", what, goal);
  const Contender& ours = contenders.front();
  for (const Contender& contender : contenders) {
    if (contender.command.empty()) {
      fmt::print("  {:<22} absent\n", contender.name);
      continue;
    }
    auto [least, most] = std::ranges::minmax(contender.seconds);
    double value = figure(median(contender.seconds), unit);
    double low = figure(unit.rate ? most : least, unit), high = figure(unit.rate ? least : most, unit);
    double ratio = figure(median(ours.seconds), unit) / value;
    double cpu_ratio = median(ours.cpu_seconds) / median(contender.cpu_seconds);
    fmt::print("  {:<22} {:>9.3f} {:<5} [{:.3f} .. {:.3f}]  sluice is {:.2f} x, its CPU {:.2f} x\n", contender.name,
               value, unit.name, low, high, ratio, cpu_ratio);
  }
}

void bytes_row(const std::string& sluice, double scale) {
  auto mebibytes = static_cast<long>(std::max(64.0, 4096 * scale));
  std::string text = fmt::format("head -c {}M /dev/zero | cat | cat", mebibytes);
  std::vector<Contender> contenders = {
      {.name = "sluice", .command = {sluice, "run", text}}, shell("bash", text), shell("dash", text)};
  race(contenders, 9, 1);
  Unit unit{"GB/s", static_cast<double>(mebibytes) * 1048576 / 1e9, true};
  print_row(fmt::format("a | b | c, {} MiB through two cats", mebibytes), contenders, unit, ">= 0.97 x bash");
}

void workers_row(const std::string& sluice, double scale) {
  auto mebibytes = static_cast<long>(std::max(64.0, 2048 * scale));
  auto through = [&](const char* filter) {
    return fmt::format("yes {} | head -c {}M | {} | cat > /dev/null", std::string(99, 'x'), mebibytes, filter);
  };
  std::vector<Contender> contenders = {{.name = "sluice @x4 cat", .command = {sluice, "run", through("@x4 cat")}},
                                       shell("bash", through("cat")),
                                       shell("dash", through("cat"))};
  race(contenders, 7, 1);
  Unit unit{"GB/s", static_cast<double>(mebibytes) * 1048576 / 1e9, true};
  print_row(fmt::format("a | @x4 cat | b, {} MiB in lines of 100 bytes, beside one cat", mebibytes), contenders, unit,
            ">= 0.4 x bash, better 0.55 x");
}

// A process a record: what starts them, and what a process costs, since most of it is the kernel's.
void each_rows(const std::string& sluice, double scale) {
  int records = std::max(200, static_cast<int>(5000 * scale));
  auto numbers = [&](const char* stage) { return fmt::format("seq {} | {}", records, stage); };
  std::vector<Contender> contenders = {
      {.name = "sluice @x2 @each", .command = {sluice, "run", numbers("@x2 @each @ordered true")}},
      with_tool("xargs", numbers("xargs -P2 -n1 true")),
      with_tool("parallel", numbers("parallel -j2 -k true")),
      {.name = "posix_spawn in a loop", .command = {"/proc/self/exe", "--spawn-loop", std::to_string(records)}}};
  race(contenders, 7, 1);
  Unit unit{"k/s", records / 1e3, true};
  print_row(fmt::format("`true` for each of {} records, output in order, beside xargs -P2", records), contenders, unit,
            ">= 1.3 x xargs, >= 8 x parallel");

  std::vector<Contender> warm = {{.name = "sluice @x2 @map", .command = {sluice, "run", numbers("@x2 @map cat")}},
                                 with_tool("xargs", numbers("xargs -P2 -n1 true"))};
  race(warm, 7, 1);
  print_row(fmt::format("{} records through two workers that stay running, beside xargs -P2", records), warm, unit,
            ">= 200 x xargs");
}

void start_rows(const std::string& sluice, double scale) {
  int runs = std::max(20, static_cast<int>(400 * scale));
  std::vector<Contender> contenders = {{.name = "sluice version", .command = {sluice, "version"}},
                                       {.name = "/bin/true", .command = {"/bin/true"}}};
  race(contenders, runs, 1);
  print_row("start of the program", contenders, {"ms", 1e3}, "<= 3.5 x /bin/true, better 2.5 x");

  std::vector<Contender> one = {{.name = "sluice run true", .command = {sluice, "run", "true"}},
                                shell("bash", "true"),
                                shell("dash", "true"),
                                {.name = "/bin/true", .command = {"/bin/true"}}};
  race(one, runs, 1);
  print_row("one command, spawner included", one, {"ms", 1e3}, "at most 3 ms more than bash -c true");
  if (!one[1].command.empty())
    fmt::print("  sluice adds {:.3f} ms to bash\n", (median(one[0].seconds) - median(one[1].seconds)) * 1e3);
}

void short_pipelines_row(const std::string& sluice, double scale) {
  int batch = std::max(20, static_cast<int>(1000 * scale));
  std::string text = "/bin/echo hello | cat | wc -c";
  std::vector<Contender> contenders = {
      {.name = "sluice", .command = {sluice, "run", text}}, shell("bash", text), shell("dash", text)};
  race(contenders, 5, batch);
  print_row(fmt::format("{} short pipelines of three stages, each in a fresh process", batch), contenders, {"s", 1},
            "<= 1.5 x bash's time");
}

// What every tool has to pay that starts a process a record, and nothing besides.
int spawn_loop(int count) {
  std::string program = find("true");
  char* arguments[] = {program.data(), nullptr};
  int running = 0;
  for (int started = 0; started < count || running > 0;) {
    if (started < count && running < 2) {
      pid_t pid = 0;
      if (posix_spawn(&pid, arguments[0], nullptr, nullptr, arguments, environ) != 0) return 1;
      ++started;
      ++running;
    } else {
      if (::wait(nullptr) < 0) return 1;
      --running;
    }
  }
  return 0;
}

// Memory is asked of a flow that waits: its stage shows /proc of its parent, the spawner, and of the parent's parent.
void memory_row(const std::string& sluice) {
  fmt::print("\nmemory of a waiting flow: anonymous and file pages (RSS), beside bash's\n");
  std::fflush(stdout);
  std::string show =
      "p=$PPID; o=$(sed -n 's/^PPid:\t//p' /proc/$p/status); for i in $o $p; do "
      "sed -n 's/^\\(Name\\|RssAnon\\|RssFile\\):\t *//p' /proc/$i/status | paste -sd ' '; done";
  std::string peer = "sed -n 's/^\\(Name\\|RssAnon\\|RssFile\\):\t *//p' /proc/$$/status | paste -sd ' '; true";
  for (const Command& command : {Command{sluice, "run", show}, Command{find("bash"), "-c", peer}}) {
    if (command[0].empty()) continue;
    std::vector<char*> arguments;
    for (const std::string& argument : command) arguments.push_back(const_cast<char*>(argument.c_str()));
    arguments.push_back(nullptr);
    pid_t pid = 0;
    if (posix_spawn(&pid, arguments[0], nullptr, nullptr, arguments.data(), environ) == 0) ::waitpid(pid, nullptr, 0);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 3 && std::strcmp(argv[1], "--spawn-loop") == 0) return spawn_loop(std::atoi(argv[2]));
  if (argc != 2) {
    fmt::print(stderr, "usage: local_pipelines_bench SLUICE\n");
    return 2;
  }
  const char* given = std::getenv("SLUICE_BENCH_SCALE");
  double scale = given != nullptr ? std::atof(given) : 1;
  bytes_row(argv[1], scale);
  workers_row(argv[1], scale);
  each_rows(argv[1], scale);
  start_rows(argv[1], scale);
  short_pipelines_row(argv[1], scale);
  memory_row(argv[1]);
}
