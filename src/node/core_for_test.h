#pragma once
// A node of no cluster, for tests of its services: it knows nobody, and runs no program.
#include <boost/asio/io_context.hpp>
#include <expected>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "node/node_core.h"
#include "node/part_surroundings.h"
#include "node/peer_channels.h"

namespace sluice::node {

class NoMembers final : public MemberView {
 public:
  NodeId self() const override { return {}; }
  std::vector<cluster::Member> members() const override { return {}; }
};

class NoParts final : public PartSurroundings {
 public:
  NoParts(net::asio::any_io_executor executor, Logger& log, link::DataLoops& loops)
      : executor_(std::move(executor)), log_(log), loops_(loops) {}
  net::asio::any_io_executor executor() override { return executor_; }
  Logger& log() override { return log_; }
  link::DataLoops& loops() override { return loops_; }
  LinkRegistry* registry() override { return nullptr; }
  net::Awaitable<std::expected<net::Connection::Parts, net::NetError>> dial(LinkAddress, link::LinkClaim,
                                                                            TimePoint) override {
    co_return std::unexpected(net::NetError{});
  }
  std::expected<std::unique_ptr<SpawnerUse>, std::string> spawner() override { return std::unexpected("none"); }
  exec::Environment environment() override { return {}; }
  bool is_client() const override { return false; }
  int process_group() const override { return 0; }
  std::optional<exec::RunAs> run_as() const override { return std::nullopt; }
  std::expected<std::string, std::string> make_folder() override { return std::string(); }
  void remove_folder(const std::string&) override {}
  std::expected<std::string, std::string> keep_folder(const std::string&, std::uint32_t, const std::string&) override {
    return std::unexpected("none");
  }

 private:
  net::asio::any_io_executor executor_;
  Logger& log_;
  link::DataLoops& loops_;
};

struct CoreForTest {
  Logger log_{{.level = LogLevel::error}};
  net::asio::io_context loop_;
  NoMembers members_;
  LinkRegistry links_;
  link::DataLoops loops_;
  PeerChannels peers_{loop_.get_executor(), {}};
  NodeCore core_{loop_.get_executor(), log_, members_, peers_, links_};
  NoParts parts_{loop_.get_executor(), log_, loops_};
};

}  // namespace sluice::node
