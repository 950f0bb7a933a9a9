#include "node/node_parts.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <utility>
#include <vector>

#include "exec/escaped_processes.h"
#include "exec/private_folder.h"
#include "exec/program_lookup.h"
#include "node/background_flows.h"

namespace sluice::node {

namespace asio = net::asio;

namespace {

using Refusal = std::unexpected<std::string>;

class LeasedSpawner final : public SpawnerUse {
 public:
  explicit LeasedSpawner(exec::SpawnerLease lease) : lease_(std::move(lease)) {}
  exec::SpawnerClient& client() override { return *lease_; }

 private:
  exec::SpawnerLease lease_;
};

// The data directory is closed to everybody else, so stages that run as another user can't work below it.
std::string work_folder(const NodeParts::Options& options, const NodeId& self) {
  if (!options.changes_user) return options.data_directory + "/run";
  const char* temporary = std::getenv("TMPDIR");
  return fmt::format("{}/sluice-{}", temporary == nullptr ? "/tmp" : temporary, self.text());
}

std::optional<exec::FolderOwner> folder_owner(const NodeParts::Options& options) {
  if (!options.changes_user) return std::nullopt;
  return exec::FolderOwner{.uid = options.user.uid, .gid = options.user.gid};
}

std::expected<void, std::string> make_work_folder(const std::string& path, mode_t mode) {
  if (::mkdir(path.c_str(), mode) != 0 && errno != EEXIST)
    return Refusal(fmt::format("cannot make the folder {} for stages: {}", path, std::strerror(errno)));
  struct stat status {};
  bool ours = ::lstat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode) && status.st_uid == ::geteuid();
  if (!ours) return Refusal(fmt::format("{} is not a folder of this user's; remove it", path));
  if (::chmod(path.c_str(), mode) != 0)
    return Refusal(fmt::format("cannot set the mode of {}: {}", path, std::strerror(errno)));
  return {};
}

}  // namespace

struct NodeParts::Remover {
  asio::thread_pool thread{1};
};

std::expected<std::unique_ptr<NodeParts>, std::string> NodeParts::open(NodeCore core, exec::SpawnerPool& pool,
                                                                       link::DataLoops& loops, Options options) {
  std::string folder = work_folder(options, core.members.self());
  if (auto made = make_work_folder(folder, options.changes_user ? 0711 : 0700); !made) return Refusal(made.error());
  // What an earlier daemon has left there. Of its flows only those in the background may still run.
  std::vector<std::string> in_use = kept_work_folders(options.data_directory);
  if (!exec::end_escaped(folder, in_use)) core.log.warn("programs of an earlier start would not end", {{"in", folder}});
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(folder, ignored))
    if (std::ranges::find(in_use, entry.path().string()) == in_use.end())
      (void)exec::remove_private_folder(entry.path(), folder_owner(options));
  return std::unique_ptr<NodeParts>(new NodeParts(core, pool, loops, std::move(options), std::move(folder)));
}

NodeParts::NodeParts(NodeCore core, exec::SpawnerPool& pool, link::DataLoops& loops, Options options,
                     std::string work_folder)
    : core_(core), pool_(pool), loops_(loops), options_(std::move(options)), work_folder_(std::move(work_folder)) {}

NodeParts::~NodeParts() = default;

net::Awaitable<std::expected<net::Connection::Parts, net::NetError>> NodeParts::dial(LinkAddress to,
                                                                                     link::LinkClaim claim,
                                                                                     TimePoint deadline) {
  return dial_link(std::move(to), claim, options_.tls(), deadline);
}

std::expected<std::unique_ptr<SpawnerUse>, std::string> NodeParts::spawner() {
  auto lease = pool_.acquire();
  if (!lease) return Refusal(lease.error());
  return std::make_unique<LeasedSpawner>(std::move(*lease));
}

exec::Environment NodeParts::environment() {
  const char* path = std::getenv("PATH");
  exec::Environment environment;
  environment.set("PATH", path == nullptr ? exec::kDefaultPath : path);
  environment.set("HOME", options_.user.home);
  environment.set("USER", options_.user.name);
  environment.set("LOGNAME", options_.user.name);
  if (const char* zone = std::getenv("TZ")) environment.set("TZ", zone);
  return environment;
}

std::optional<exec::RunAs> NodeParts::run_as() const {
  if (!options_.changes_user) return std::nullopt;
  return options_.user.identity();
}

std::expected<std::string, std::string> NodeParts::make_folder() {
  auto made = exec::make_private_folder(work_folder_, folder_owner(options_));
  if (!made) return Refusal(fmt::format("cannot {}: {}", made.error().what, std::strerror(made.error().error)));
  return *made;
}

// Most are empty, which one system call removes.
void NodeParts::remove_folder(const std::string& folder) {
  if (::rmdir(folder.c_str()) == 0) return;
  if (!remover_) remover_ = std::make_unique<Remover>();
  asio::post(remover_->thread, [folder, owner = folder_owner(options_), &log = core_.log] {
    auto removed = exec::remove_private_folder(folder, owner);
    if (!removed)
      log.error("folder not removed",
                {LogField("what", removed.error().what), LogField("reason", std::strerror(removed.error().error))});
  });
}

std::expected<std::string, std::string> NodeParts::keep_folder(const std::string& flow_id, std::uint32_t part,
                                                               const std::string& work_folder) {
  // The id comes from another node.
  if (!FlowId::parse(flow_id)) return Refusal(fmt::format("'{}' is no id of a flow", flow_id));
  std::string folder = fmt::format("{}/flows/{}/{}", options_.data_directory, flow_id, part);
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return Refusal(fmt::format("cannot make the folder {}: {}", folder, error.message()));
  if (auto noted = note_work_folder(folder, work_folder); !noted) return Refusal(noted.error());
  return folder;
}

void NodeParts::close() {
  if (remover_) remover_->thread.join();
}

}  // namespace sluice::node
