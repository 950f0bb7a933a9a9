#pragma once
// What a node gives to the parts of flows that run on it: spawners, folders, an environment, a user, and links.
// Threading: belongs to the control loop; folders are filled and removed on a thread of their own.
#include <expected>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "exec/spawner_pool.h"
#include "exec/user_account.h"
#include "node/file_service.h"
#include "node/node_core.h"
#include "node/part_host.h"

namespace sluice::node {

class RoleOffers;

class NodeParts final : public PartSurroundings {
 public:
  struct Options {
    std::string data_directory;
    exec::UserAccount user;  // whom stages run as
    bool changes_user = false;
    std::function<const net::TlsContext*()> tls;
    FileService* files = nullptr;
    RoleOffers* offers = nullptr;
  };
  /// Errors: a sentence; the folder below which stages work can't be made.
  static std::expected<std::unique_ptr<NodeParts>, std::string> open(NodeCore core, exec::SpawnerPool& pool,
                                                                     link::DataLoops& loops, Options options);
  ~NodeParts() override;

  net::asio::any_io_executor executor() override { return core_.executor; }
  Logger& log() override { return core_.log; }
  link::DataLoops& loops() override { return loops_; }
  LinkRegistry* registry() override { return &core_.links; }
  net::Awaitable<std::expected<net::Connection::Parts, net::NetError>> dial(LinkAddress to, link::LinkClaim claim,
                                                                            TimePoint deadline) override;
  std::expected<std::unique_ptr<SpawnerUse>, std::string> spawner() override;
  std::unique_ptr<JoinedSeat> take_offer(const std::string& id) override;
  exec::Environment environment() override;
  bool is_client() const override { return false; }
  int process_group() const override { return 0; }
  std::optional<exec::RunAs> run_as() const override;
  std::expected<std::string, std::string> make_folder() override;
  void remove_folder(const std::string& folder) override;
  void recycle_folder(const std::string& folder) override;
  net::Awaitable<std::expected<LaidFolder, std::string>> lay_files(v1::Prepare prepare) override;
  std::expected<std::string, std::string> keep_folder(const std::string& flow_id, std::uint32_t part,
                                                      const std::string& work_folder) override;

  /// Removes the spare folders, and waits for those that are being removed.
  void close();

 private:
  struct FolderWorker;
  NodeParts(NodeCore core, exec::SpawnerPool& pool, link::DataLoops& loops, Options options, std::string work_folder);

  /// On a thread beside the loop; at once and here if there can be no thread.
  void work_beside(std::move_only_function<void()> work);

  NodeCore core_;
  exec::SpawnerPool& pool_;
  link::DataLoops& loops_;
  Options options_;
  std::string work_folder_;
  std::vector<std::string> spare_folders_;       // empty ones: making one costs as much as a small program
  std::unique_ptr<FolderWorker> folder_worker_;  // once it is needed
};

}  // namespace sluice::node
