#include "node/trust_service.h"

#include <fmt/format.h>

#include <chrono>

#include "cluster/signing_key.h"
#include "sluice/v1/trust.pb.h"

namespace sluice::node {

using net::Awaitable;
using Refusal = std::unexpected<rpc::Status>;

namespace {

constexpr std::chrono::seconds kCallPatience{5};

std::optional<cluster::Revocation> revocation_from(const v1::Revocation& message) {
  auto serial = net::CertificateSerial::parse(message.serial());
  cluster::Revocation revocation;
  if (!serial || message.signature().size() != revocation.signature.size()) return std::nullopt;
  revocation.serial = *serial;
  revocation.not_after = cluster::WallTime(std::chrono::seconds(message.not_after_unix()));
  std::copy(message.signature().begin(), message.signature().end(), revocation.signature.begin());
  return revocation;
}

}  // namespace

struct TrustService::Impl {
  Impl(NodeCore node_core, NodeTrust& node_trust) : core(node_core), trust(node_trust) {}

  NodeCore core;
  NodeTrust& trust;

  static Awaitable<std::expected<v1::RenewResponse, rpc::Status>> renew(std::shared_ptr<Impl> self, net::Peer peer,
                                                                        v1::RenewRequest request) {
    if (!self->trust.holds_key())
      co_return Refusal(rpc::Status{rpc::Code::failed_precondition, "this node does not hold the cluster key"});
    auto renewed = self->trust.renew_for(request.public_key_pem(), peer);
    if (!renewed) co_return Refusal(rpc::Status{rpc::Code::permission_denied, renewed.error()});
    v1::RenewResponse response;
    response.set_certificate_pem(renewed->tls.certificate_pem);
    for (const std::string& pem : renewed->tls.authority_pems) response.add_authority_pems(pem);
    for (const cluster::GossipSecret& secret : renewed->gossip_secrets)
      response.add_gossip_secrets(secret.bytes().data(), secret.bytes().size());
    co_return response;
  }

  static Awaitable<std::expected<v1::RevokeResponse, rpc::Status>> revoke(std::shared_ptr<Impl> self,
                                                                          v1::RevokeRequest request) {
    auto serial = net::CertificateSerial::parse(request.serial());
    if (!serial)
      co_return Refusal(rpc::Status{rpc::Code::invalid_argument,
                                    fmt::format("'{}' is no serial number: 32 hexadecimal digits", request.serial())});
    if (!self->trust.holds_key())
      co_return Refusal(rpc::Status{rpc::Code::failed_precondition,
                                    "this node does not hold the cluster key; ask one that does (--node)"});
    if (auto revoked = self->trust.revoke(*serial); !revoked)
      co_return Refusal(rpc::Status{rpc::Code::resource_exhausted, revoked.error()});
    co_return v1::RevokeResponse();
  }

  static Awaitable<std::expected<v1::ListRevocationsResponse, rpc::Status>> list(std::shared_ptr<Impl> self) {
    v1::ListRevocationsResponse response;
    for (const cluster::Revocation& revocation : self->trust.revocations().entries()) {
      v1::Revocation& message = *response.add_revocations();
      message.set_serial(revocation.serial.text());
      message.set_not_after_unix(static_cast<std::uint64_t>(revocation.not_after.time_since_epoch().count()));
      message.set_signature(revocation.signature.data(), revocation.signature.size());
    }
    co_return response;
  }

  static Awaitable<void> fetch(std::shared_ptr<Impl> self, NodeId node) {
    auto channel = co_await self->core.peers.get(node, Clock::now() + kCallPatience);
    if (!channel) co_return;
    auto response = co_await rpc::call<v1::ListRevocationsResponse>(**channel, "sluice.v1.Trust/ListRevocations",
                                                                    v1::ListRevocationsRequest());
    if (!response) co_return;
    std::vector<cluster::Revocation> revocations;
    for (const v1::Revocation& message : response->revocations())
      if (auto revocation = revocation_from(message)) revocations.push_back(*revocation);
    self->trust.add_revocations(revocations);
  }

  static Awaitable<std::expected<void, std::string>> renew_own(std::shared_ptr<Impl> self) {
    if (self->trust.holds_key()) co_return self->trust.renew();
    std::string reason = "no other node is alive";
    for (const cluster::Member& member : self->core.members.members()) {
      if (member.state != cluster::MemberState::alive || member.id == self->core.members.self()) continue;
      auto renewed = co_await ask(self, member);
      if (renewed) co_return renewed;
      reason = fmt::format("{}: {}", member.profile.name, renewed.error());
    }
    co_return std::unexpected(reason);
  }

  static Awaitable<std::expected<void, std::string>> ask(std::shared_ptr<Impl> self, cluster::Member member) {
    auto channel = co_await self->core.peers.get(member.id, Clock::now() + kCallPatience);
    if (!channel) co_return std::unexpected(channel.error().message);
    auto key = cluster::SigningKey::generate();
    v1::RenewRequest request;
    request.set_public_key_pem(cluster::to_pem(key.public_key()));
    auto response = co_await rpc::call<v1::RenewResponse>(**channel, "sluice.v1.Trust/Renew", request);
    if (!response) co_return std::unexpected(response.error().message);
    // Put together as a credential file would be, so that the same checks hold for it.
    cluster::ClusterCredentials credentials;
    credentials.tls.certificate_pem = response->certificate_pem();
    credentials.tls.private_key_pem = std::string(key.pem().view());
    credentials.tls.authority_pems.assign(response->authority_pems().begin(), response->authority_pems().end());
    for (const std::string& secret : response->gossip_secrets()) {
      if (secret.size() != cluster::kSecretSize) co_return std::unexpected("a damaged answer");
      credentials.gossip_secrets.emplace_back(std::span<const std::uint8_t, cluster::kSecretSize>(
          reinterpret_cast<const std::uint8_t*>(secret.data()), cluster::kSecretSize));
    }
    auto checked = cluster::parse_credentials(cluster::format_credentials(credentials).view());
    if (!checked) co_return std::unexpected(checked.error());
    co_return self->trust.take(*checked);
  }
};

TrustService::TrustService(NodeCore core, NodeTrust& trust) : impl_(std::make_shared<Impl>(core, trust)) {}
TrustService::~TrustService() = default;

void TrustService::register_methods(rpc::DispatchTable& table) {
  using net::Role;
  auto impl = impl_;
  table.add({.name = "sluice.v1.Trust/Renew",
             .roles = {Role::read, Role::submit, Role::invoke, Role::run, Role::worker, Role::agent, Role::operate,
                       Role::gateway, Role::node},
             .mutating = true,
             .handler = rpc::unary_of<v1::RenewRequest, v1::RenewResponse>(
                 [impl](const rpc::CallInfo& info, v1::RenewRequest request) {
                   return Impl::renew(impl, info.caller.connection, std::move(request));
                 })});
  table.add({.name = "sluice.v1.Trust/Revoke",
             .roles = {Role::admin},
             .mutating = true,
             .object = rpc::object_of<v1::RevokeRequest>([](const v1::RevokeRequest& request) {
               return rpc::CallObject{{"serial", request.serial()}};
             }),
             .handler = rpc::unary_of<v1::RevokeRequest, v1::RevokeResponse>(
                 [impl](const rpc::CallInfo&, v1::RevokeRequest request) {
                   return Impl::revoke(impl, std::move(request));
                 })});
  table.add({.name = "sluice.v1.Trust/ListRevocations",
             .roles = {Role::read, Role::operate, Role::node, Role::admin},
             .handler = rpc::unary_of<v1::ListRevocationsRequest, v1::ListRevocationsResponse>(
                 [impl](const rpc::CallInfo&, v1::ListRevocationsRequest) { return Impl::list(impl); })});
}

Awaitable<void> TrustService::fetch_revocations(NodeId node) { return Impl::fetch(impl_, node); }
Awaitable<std::expected<void, std::string>> TrustService::renew_own() { return Impl::renew_own(impl_); }

}  // namespace sluice::node
