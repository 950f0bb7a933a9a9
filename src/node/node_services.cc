#include "node/node_services.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>

#include "node/audit_log.h"
#include "node/file_service.h"
#include "node/node_parts.h"
#include "node/program_service.h"
#include "node/role_offers.h"
#include "node/role_service.h"
#include "node/worker_service.h"
#include "sluice/v1/roles.pb.h"

namespace sluice::node {

using net::Awaitable;
using Refusal = std::unexpected<std::string>;

struct NodeServices::Impl {
  Impl(NodeCore to_core, link::DataLoops& to_loops) : core(to_core), loops(to_loops) {}

  std::expected<void, std::string> open(NodeSpawners& spawners, NodeTrust& trust_of_node, Options options) {
    auto store = FileStore::open(options.data_directory);
    if (!store) return Refusal(store.error());
    files.emplace(core, std::move(*store));
    NodeParts::Options part_options{.data_directory = options.data_directory,
                                    .user = spawners.user,
                                    .changes_user = spawners.changes_user,
                                    .tls = std::move(options.tls),
                                    .files = &*files,
                                    .offers = &offers};
    auto opened = NodeParts::open(core, *spawners.pool, loops, std::move(part_options));
    if (!opened) return Refusal(opened.error());
    parts = std::move(*opened);
    programs.emplace(core, *parts);
    workers.emplace(core, *parts);
    roles.emplace(core, offers);
    flows.emplace(core, *workers, *roles, loops, options.data_directory);
    roles->set_on_offered([flows = &*flows](const NodeId& node, const std::vector<v1::RoleOffer>& waiting) {
      flows->on_offered(node, waiting);
    });
    cluster.emplace(core, std::move(options.on_leave));
    trust.emplace(core, trust_of_node);
    return fill_table(options.data_directory);
  }

  std::expected<void, std::string> fill_table(const std::string& data_directory) {
    files->register_methods(table);
    programs->register_methods(table);
    workers->register_methods(table);
    roles->register_methods(table);
    flows->register_methods(table);
    cluster->register_methods(table);
    trust->register_methods(table);
    auto opened = AuditLog::open(data_directory);
    if (!opened) return Refusal(opened.error());
    audit.emplace(std::move(*opened));
    table.set_audit([this](const rpc::CallInfo& call, bool allowed) { return record(call, allowed); });
    return {};
  }

  std::expected<void, std::string> record(const rpc::CallInfo& call, bool allowed) {
    if (!allowed) core.log.warn("call refused", {{"method", call.method}, {"who", call.caller.connection.name}});
    auto written = audit->write(call, allowed);
    int error = written ? 0 : written.error();
    tell_of_audit(error);
    if (written) return {};
    bool full = error == ENOSPC || error == EDQUOT;
    return Refusal(fmt::format(
        "the audit log of the node can't be written: {}: {}; nothing was done, for what changes something is recorded "
        "first; {}, then try again",
        audit->path(), std::strerror(error), full ? "make room on that disk" : "let the node write there"));
  }

  // A full disk must not fill the log too: told on change.
  void tell_of_audit(int error) {
    if (error != 0 && error != audit_error)
      core.log.error("audit log not written", {{"file", audit->path()}, {"reason", std::strerror(error)}});
    if (error == 0 && audit_error != 0) core.log.info("audit log written again");
    audit_error = error;
  }

  NodeCore core;
  link::DataLoops& loops;
  RoleOffers offers;
  std::optional<FileService> files;
  std::unique_ptr<NodeParts> parts;
  std::optional<ProgramService> programs;
  std::optional<WorkerService> workers;
  std::optional<RoleService> roles;
  std::optional<FlowService> flows;
  std::optional<ClusterService> cluster;
  std::optional<TrustService> trust;
  rpc::DispatchTable table;
  std::optional<AuditLog> audit;
  int audit_error = 0;  // of the last line
};

std::expected<std::unique_ptr<NodeServices>, std::string> NodeServices::open(NodeCore core, NodeSpawners& spawners,
                                                                             NodeTrust& trust, link::DataLoops& loops,
                                                                             Options options) {
  auto impl = std::make_unique<Impl>(core, loops);
  if (auto opened = impl->open(spawners, trust, std::move(options)); !opened) return Refusal(opened.error());
  return std::unique_ptr<NodeServices>(new NodeServices(std::move(impl)));
}

NodeServices::NodeServices(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
NodeServices::~NodeServices() = default;

const rpc::DispatchTable& NodeServices::table() const { return impl_->table; }
FlowService& NodeServices::flows() { return *impl_->flows; }
ClusterService& NodeServices::cluster() { return *impl_->cluster; }
TrustService& NodeServices::trust() { return *impl_->trust; }

Awaitable<void> NodeServices::drain(std::optional<Duration> grace) {
  co_await impl_->flows->drain(grace);
  co_await impl_->workers->drain(grace);
}

Awaitable<void> NodeServices::end_work(bool keep_background) {
  impl_->programs->close();
  co_await impl_->flows->close(keep_background);
  co_await impl_->workers->close();
  co_await impl_->roles->close();
  impl_->cluster->close();
}

void NodeServices::close() { impl_->parts->close(); }

}  // namespace sluice::node
