// Holds the dispatch table of a node against the services of proto/sluice/v1.
#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "api/method_list.h"
#include "node/cluster_service.h"
#include "node/core_for_test.h"
#include "node/file_service.h"
#include "node/flow_service.h"
#include "node/identity.h"
#include "node/node_trust.h"
#include "node/program_service.h"
#include "node/role_offers.h"
#include "node/role_service.h"
#include "node/trust_service.h"
#include "node/worker_service.h"

namespace sluice::node {
namespace {

class DispatchTableOfANode : public testing::Test, protected CoreForTest {
 protected:
  DispatchTableOfANode() {
    std::string pattern = testing::TempDir() + "/table.XXXXXX";
    folder_ = ::mkdtemp(pattern.data());
    auto identity = Identity::open(folder_ + "/data");
    EXPECT_TRUE(identity) << identity.error();
    auto trust = NodeTrust::open(*identity, {.key_file = "", .cert_file = "", .name = "n1"}, log_);
    EXPECT_TRUE(trust) << trust.error();
    trust_ = std::move(*trust);
    cluster_.register_methods(table_);
    workers_.register_methods(table_);
    roles_.register_methods(table_);
    ProgramService(core_, parts_).register_methods(table_);
    flows_.register_methods(table_);
    TrustService(core_, *trust_).register_methods(table_);
    auto store = FileStore::open(folder_);
    EXPECT_TRUE(store) << store.error();
    FileService(core_, std::move(*store)).register_methods(table_);
  }
  ~DispatchTableOfANode() override { std::filesystem::remove_all(folder_); }

  std::string folder_;
  std::unique_ptr<NodeTrust> trust_;
  rpc::DispatchTable table_;
  ClusterService cluster_{core_, {}};
  WorkerService workers_{core_, parts_};
  RoleOffers offers_;
  RoleService roles_{core_, offers_};
  FlowService flows_{core_, workers_, roles_, loops_, ""};
};

TEST_F(DispatchTableOfANode, HasEveryMethodOfEveryServiceAndSomeRoleForEach) {
  for (const api::ApiMethod& method : api::api_methods()) {
    const rpc::Method* registered = table_.find(method.name);
    ASSERT_NE(registered, nullptr) << method.name << " is in proto/sluice/v1 and in no table";
    EXPECT_FALSE(registered->roles.empty()) << method.name << " may be called by nobody";
    EXPECT_EQ(registered->client_streams, method.client_streams) << method.name;
    EXPECT_EQ(registered->server_streams, method.server_streams) << method.name;
  }
}

TEST_F(DispatchTableOfANode, HasNoMethodThatTheApiDoesNotDeclare) {
  for (const auto& [name, method] : table_.methods()) EXPECT_NE(api::find_api_method(name), nullptr) << name;
}

// Rows such as: | `Flows/ListFlows`, `Flows/WaitFlow` | read, run | .
std::map<std::string, std::set<std::string>> documented_roles() {
  std::map<std::string, std::set<std::string>> roles_of;
  std::ifstream document(SLUICE_SECURITY_DOCUMENT);
  bool inside = false;
  for (std::string line; std::getline(document, line);) {
    if (line.starts_with("<!-- methods:")) inside = line.find("end") == std::string::npos;
    if (!inside || !line.starts_with("| `")) continue;
    std::size_t middle = line.find(" | ");
    std::set<std::string> roles;
    std::istringstream names(line.substr(middle + 3));
    for (std::string name; names >> name && name != "|";) roles.insert(name.substr(0, name.find(',')));
    if (roles.erase("all") > 0)
      for (net::Role role : net::all_roles()) roles.emplace(net::role_name(role));
    std::istringstream methods(line.substr(0, middle));
    for (std::string part; std::getline(methods, part, '`');)
      if (part.find('/') != std::string::npos) roles_of["sluice.v1." + part] = roles;
  }
  return roles_of;
}

TEST_F(DispatchTableOfANode, TheDocumentSaysWhoMayCallWhat) {
  std::map<std::string, std::set<std::string>> registered;
  for (const auto& [name, method] : table_.methods())
    for (net::Role role : net::all_roles())
      if (method.roles.contains(role)) registered[name].emplace(net::role_name(role));
  EXPECT_EQ(documented_roles(), registered);
}

TEST_F(DispatchTableOfANode, AReadCertificateMayChangeNothing) {
  for (const auto& [name, method] : table_.methods()) {
    bool renewal = name == "sluice.v1.Trust/Renew";  // of the very certificate that asks
    EXPECT_FALSE(method.mutating && !renewal && method.roles.contains(net::Role::read)) << name;
  }
}

TEST_F(DispatchTableOfANode, OnlyNodesAskNodesToHostParts) {
  const rpc::Method* host = table_.find("sluice.v1.Workers/Host");
  ASSERT_NE(host, nullptr);
  for (net::Role role : net::all_roles()) EXPECT_EQ(host->roles.contains(role), role == net::Role::node);
}

}  // namespace
}  // namespace sluice::node
