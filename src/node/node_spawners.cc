#include "node/node_spawners.h"

#include <fmt/format.h>
#include <unistd.h>

#include "node/background_flows.h"

namespace sluice::node {
namespace {

// A burst of small programs must not fork a spawner for each; what it leaves behind is memory, and goes soon.
constexpr std::size_t kSpawnersAfterBurst = 64;

std::optional<exec::CgroupPlace> open_cgroup_home(const Identity& identity, Logger& log) {
  auto places = exec::find_cgroups();
  std::string name = "sluice-" + identity.id().text();
  auto home = exec::make_cgroup_home(places, name);
  if (!home) return std::nullopt;
  if (auto ended = exec::end_leftovers(home->directory, kept_cgroups(identity.directory())); !ended)
    log.warn("leftovers of an earlier start", {{"reason", ended.error()}});
  home = exec::make_cgroup_home(places, name);
  return home ? std::optional(*home) : std::nullopt;
}

}  // namespace

std::expected<NodeSpawners, std::string> open_spawners(const StartOptions& options, const Identity& identity,
                                                       exec::ZygoteClient zygote, Logger& log) {
  auto user = options.run_as.empty() ? exec::own_user() : exec::find_user(options.run_as);
  if (!user) return std::unexpected(user.error());
  bool changes_user = !options.run_as.empty() && user->uid != ::geteuid();
  if (changes_user && ::geteuid() != 0)
    return std::unexpected(fmt::format("--run-as {}: only root may run programs as another user", options.run_as));
  exec::SpawnerPool::Options pool_options;
  pool_options.cgroup_home = open_cgroup_home(identity, log);
  pool_options.idle_max = kSpawnersAfterBurst;
  auto pool = std::make_unique<exec::SpawnerPool>(std::move(zygote), std::move(pool_options));
  return NodeSpawners{.user = std::move(*user), .changes_user = changes_user, .pool = std::move(pool)};
}

}  // namespace sluice::node
