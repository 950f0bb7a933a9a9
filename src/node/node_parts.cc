#include "node/node_parts.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/system/system_error.hpp>
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
#include "node/condition.h"
#include "node/role_offers.h"
#include "sluice/v1/host.pb.h"

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

namespace {

constexpr std::size_t kSpareFoldersMax = 64;

// A folder of exactly these rights and nothing in it is as good as new.
bool is_pristine(const std::string& folder, const NodeParts::Options& options) {
  struct stat status {};
  uid_t owner = options.changes_user ? options.user.uid : ::geteuid();
  bool unchanged = ::lstat(folder.c_str(), &status) == 0 && (status.st_mode & (S_IFMT | 07777)) == (S_IFDIR | 0700) &&
                   status.st_uid == owner && status.st_nlink == 2;
  std::error_code error;
  return unchanged && std::filesystem::is_empty(folder, error) && !error;
}

}  // namespace

struct NodeParts::FolderWorker {
  asio::thread_pool thread{1};
};

void NodeParts::work_beside(std::move_only_function<void()> work) {
  try {
    if (!folder_worker_) folder_worker_ = std::make_unique<FolderWorker>();
  } catch (const boost::system::system_error&) {  // the limit of processes
    return work();
  }
  asio::post(folder_worker_->thread, [work = std::move(work)]() mutable { work(); });
}

std::expected<std::unique_ptr<NodeParts>, std::string> NodeParts::open(NodeCore core, exec::SpawnerPool& pool,
                                                                       link::DataLoops& loops, Options options) {
  std::string folder = work_folder(options, core.members.self());
  if (auto made = make_work_folder(folder, options.changes_user ? 0711 : 0700); !made) return Refusal(made.error());
  // What an earlier daemon has left there. Of its flows only those in the background may still run.
  std::vector<std::string> in_use = kept_work_folders(options.data_directory);
  end_lost_flows(options.data_directory);
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

std::unique_ptr<JoinedSeat> NodeParts::take_offer(const std::string& id) {
  return options_.offers == nullptr ? nullptr : options_.offers->take(id);
}

exec::Environment NodeParts::environment() {
  const char* path = std::getenv("PATH");
  exec::Environment environment;
  environment.set("PATH", path == nullptr ? exec::kDefaultPath : path);
  const char* home = options_.changes_user ? nullptr : std::getenv("HOME");
  environment.set("HOME", home == nullptr ? options_.user.home : home);
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
  if (!spare_folders_.empty()) {
    std::string spare = std::move(spare_folders_.back());
    spare_folders_.pop_back();
    return spare;
  }
  auto made = exec::make_private_folder(work_folder_, folder_owner(options_));
  if (!made) return Refusal(fmt::format("cannot {}: {}", made.error().what, std::strerror(made.error().error)));
  return *made;
}

namespace {

using LayResult = std::expected<void, std::string>;

struct Laying {
  explicit Laying(asio::any_io_executor executor) : done(std::move(executor)) {}
  Condition done;
  std::optional<LayResult> result;
};

std::expected<std::vector<WantedFile>, std::string> wanted_files(const v1::Prepare& prepare) {
  std::vector<WantedFile> files;
  for (const v1::ShippedFile& file : prepare.files()) {
    auto content = ContentId::from_bytes(file.sha256());
    auto problem = shipped_path_problem(file.path());
    if (!content || problem)
      return Refusal(fmt::format("{}: {}", file.path(), problem.value_or("its hash is not 32 bytes")));
    files.push_back({{.path = file.path(), .content = *content, .executable = file.executable()}, file.size()});
  }
  return files;
}

}  // namespace

net::Awaitable<std::expected<LaidFolder, std::string>> NodeParts::lay_files(v1::Prepare prepare) {
  auto files = wanted_files(prepare);
  auto from = NodeId::parse(prepare.files_node_id());
  if (!files) co_return Refusal(files.error());
  if (!from || options_.files == nullptr) co_return Refusal("nobody is named who has it");
  auto fetched = co_await options_.files->fetch(*files, *from);
  if (!fetched) co_return Refusal(fetched.error());
  auto root = make_folder();
  if (!root) co_return Refusal(root.error());
  std::vector<LaidFile> to_lay;
  for (WantedFile& wanted : *files) to_lay.push_back(std::move(wanted.file));
  std::string directory = work_directory_for(to_lay);
  auto laying = std::make_shared<Laying>(core_.executor);
  work_beside([laying, to_lay, directory, root = *root, store = options_.files, owner = folder_owner(options_),
               executor = core_.executor] {
    LayResult result;
    for (const LaidFile& file : to_lay)
      if (result) result = lay_file(store->path_of(file.content), file, root, directory, owner);
    asio::post(executor, [laying, result = std::move(result)] {
      laying->result = result;
      laying->done.notify();
    });
  });
  while (!laying->result) co_await laying->done.wait();
  if (*laying->result)
    co_return LaidFolder{.root = *root, .directory = directory.empty() ? *root : *root + "/" + directory};
  remove_folder(*root);
  co_return Refusal(laying->result->error());
}

// Most are empty, which one system call removes.
void NodeParts::remove_folder(const std::string& folder) {
  if (::rmdir(folder.c_str()) == 0) return;
  work_beside([folder, owner = folder_owner(options_), &log = core_.log] {
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

void NodeParts::recycle_folder(const std::string& folder) {
  if (spare_folders_.size() < kSpareFoldersMax && is_pristine(folder, options_))
    spare_folders_.push_back(folder);
  else
    remove_folder(folder);
}

void NodeParts::close() {
  for (const std::string& folder : spare_folders_) remove_folder(folder);
  spare_folders_.clear();
  if (folder_worker_) folder_worker_->thread.join();
  // One among the host's temporary files would never be used again if the node was the last of its id. What still runs in
  // the background works in it, and keeps it.
  if (options_.changes_user) (void)!::rmdir(work_folder_.c_str());
}

}  // namespace sluice::node
