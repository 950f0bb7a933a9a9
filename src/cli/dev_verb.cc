#include <fmt/format.h>

#include <charconv>
#include <csignal>
#include <optional>
#include <utility>

#include "cli/context_file.h"
#include "cli/option_reader.h"
#include "cli/verbs.h"
#include "exec/entry_state.h"
#include "node/dev_cluster.h"
#include "node/signals.h"

namespace sluice::cli {
namespace {

constexpr const char* kContext = "dev";
constexpr std::size_t kNodesMax = 50;

// The context that lets other terminals find the cluster without options, for as long as it runs.
class DevContext final {
 public:
  static std::expected<DevContext, std::string> set(const node::DevNode& node) {
    auto contexts = read_contexts();
    if (!contexts) return std::unexpected(contexts.error());
    DevContext context;
    context.before_ = contexts->current == kContext ? "" : contexts->current;
    if (auto found = contexts->all.find(kContext); found != contexts->all.end()) context.replaced_ = found->second;
    contexts->current = kContext;
    contexts->all[kContext] = {.node = node.data + "/sluice.sock"};
    context.socket_ = node.data + "/sluice.sock";
    if (auto written = write_contexts(*contexts); !written) return std::unexpected(written.error());
    return context;
  }
  DevContext(DevContext&& other) noexcept
      : before_(std::move(other.before_)),
        replaced_(std::move(other.replaced_)),
        socket_(std::exchange(other.socket_, std::string())) {}
  DevContext& operator=(DevContext&&) = delete;
  // Another `sluice dev` may have taken its place meanwhile, or it may have taken that of one that still runs.
  ~DevContext() {
    auto contexts = read_contexts();
    if (socket_.empty() || !contexts) return;
    auto found = contexts->all.find(kContext);
    if (found == contexts->all.end() || found->second.node != socket_) return;
    if (replaced_ && node::listens_at(replaced_->node)) {
      found->second = *replaced_;
    } else {
      contexts->all.erase(found);
      if (contexts->current == kContext) contexts->current = before_;
    }
    (void)write_contexts(*contexts);
  }

 private:
  DevContext() = default;
  std::string before_;
  std::optional<Context> replaced_;
  std::string socket_;
};

std::string lines_to_try(const node::DevCluster& cluster) {
  std::string last = cluster.nodes().back().name;
  return fmt::format(
      "Try in another terminal:\n"
      "  sluice nodes\n"
      "  sluice run '@all hostname'\n"
      "  sluice run 'seq 1000000 | @{} sort -rn | @n1 head -3'\n"
      "  sluice run --dry-run '@{} cat | wc -c'\n"
      "Ctrl-C ends it all.\n",
      last, last);
}

// Ctrl-C is how one is done with it.
int end_by(int signal) {
  if (signal != 0 && signal != SIGINT) node::die_by(signal);
  return kSuccess;
}

}  // namespace

int dev_verb(const Arguments& arguments) {
  std::string count_text = "3";
  OptionReader reader({.verb = "dev",
                       .description = "Run a whole cluster in this terminal, gone at Ctrl-C. Other terminals find it "
                                      "without options.",
                       .usage = "[--nodes N]",
                       .examples = "  sluice dev\n  sluice dev --nodes 5\n"});
  reader.value("--nodes", count_text, "N", "how many nodes (3)");
  if (auto read = reader.read(arguments); !read) return read.error().status;
  std::size_t count = 0;
  auto [end, error] = std::from_chars(count_text.data(), count_text.data() + count_text.size(), count);
  if (error != std::errc() || end != count_text.data() + count_text.size() || count < 1 || count > kNodesMax)
    return refuse(kUsage, fmt::format("dev: --nodes {}: a number from 1 to {}", count_text, kNodesMax));
  node::Signals signals(exec::EntryState::capture());
  int signal = 0;
  {
    auto cluster = node::DevCluster::start(count, signals);
    if (!cluster && cluster.error().signal != 0) return end_by(cluster.error().signal);
    if (!cluster) return refuse(kFailed, "dev: " + cluster.error().message);
    auto context = DevContext::set(cluster->nodes().front());
    if (!context) return refuse(kFailed, "dev: " + context.error());
    std::string ready;
    for (const node::DevNode& each : cluster->nodes()) ready += fmt::format("{}  {}\n", each.name, each.url);
    if (int printed = print(ready + lines_to_try(*cluster)); printed != kSuccess) return printed;
    signal = cluster->watch([](const std::string& event) { print(event + "\n"); });
  }
  return end_by(signal);
}

}  // namespace sluice::cli
