#include "node/file_service.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <set>
#include <utility>

#include "node/condition.h"
#include "sluice/v1/host.pb.h"

namespace sluice::node {

using net::Awaitable;

namespace {

using Refusal = std::unexpected<std::string>;

constexpr std::size_t kChunkSize = std::size_t{256} << 10;
constexpr int kAskedMax = 4096;  // hashes in one question
constexpr std::chrono::seconds kDialTime{5};

rpc::Status bad_request(std::string message) { return {rpc::Code::invalid_argument, std::move(message)}; }

}  // namespace

struct FileService::Impl : std::enable_shared_from_this<Impl> {
  Impl(NodeCore node_core, FileStore file_store)
      : core(node_core), store(std::move(file_store)), fetched(core.executor) {}

  NodeCore core;
  FileStore store;
  Condition fetched;
  std::set<ContentId> fetching;

  // --- methods ----------------------------------------------------------------------------------------------------

  static Awaitable<std::expected<v1::LackResponse, rpc::Status>> lack(std::shared_ptr<Impl> self,
                                                                      v1::LackRequest request) {
    if (request.sha256_size() > kAskedMax)
      co_return std::unexpected(bad_request(fmt::format("at most {} files can be asked for at once", kAskedMax)));
    v1::LackResponse response;
    for (const std::string& bytes : request.sha256()) {
      auto content = ContentId::from_bytes(bytes);
      if (!content) co_return std::unexpected(bad_request("a hash that is not 32 bytes"));
      if (!self->store.has(*content)) response.add_sha256(bytes);
    }
    co_return response;
  }

  static Awaitable<rpc::Status> put(std::shared_ptr<Impl> self, rpc::ServerCall& call) {
    std::optional<FileStore::Arrival> arrival;
    while (true) {
      auto message = co_await call.read();
      if (!message) co_return message.error();
      if (!*message) break;
      v1::PutRequest request;
      if (!request.ParseFromString(**message)) co_return bad_request("the request is no message of its type");
      if (!arrival) {
        auto content = ContentId::from_bytes(request.sha256());
        if (!content) co_return bad_request("a hash that is not 32 bytes");
        auto begun = self->store.receive(*content, request.size());
        if (!begun) co_return rpc::Status{rpc::Code::resource_exhausted, begun.error()};
        arrival.emplace(std::move(*begun));
      }
      if (auto written = arrival->write(request.bytes()); !written)
        co_return rpc::Status{rpc::Code::failed_precondition, written.error()};
    }
    if (!arrival) co_return bad_request("a file without a first message");
    if (auto finished = arrival->finish(); !finished)
      co_return rpc::Status{rpc::Code::failed_precondition, finished.error()};
    auto answered = co_await call.write(v1::PutResponse().SerializeAsString());
    co_return answered ? rpc::Status{} : answered.error();
  }

  static Awaitable<rpc::Status> get(std::shared_ptr<Impl> self, rpc::ServerCall& call) {
    auto message = co_await call.read();
    if (!message) co_return message.error();
    v1::GetFileRequest request;
    if (!*message || !request.ParseFromString(**message))
      co_return bad_request("the request is no message of its type");
    auto content = ContentId::from_bytes(request.sha256());
    if (!content) co_return bad_request("a hash that is not 32 bytes");
    auto file = self->store.read(*content);
    if (!file) co_return rpc::Status{rpc::Code::not_found, "this node does not have the file any more"};
    std::string buffer(kChunkSize, '\0');
    while (true) {
      ssize_t got = ::read(file->get(), buffer.data(), buffer.size());
      if (got < 0) co_return rpc::Status{rpc::Code::internal, std::strerror(errno)};
      if (got == 0) co_return rpc::Status{};
      v1::FileChunk chunk;
      chunk.set_bytes(buffer.data(), static_cast<std::size_t>(got));
      auto written = co_await call.write(chunk.SerializeAsString());
      if (!written) co_return written.error();
    }
  }

  // --- fetching ---------------------------------------------------------------------------------------------------

  static Awaitable<std::expected<void, std::string>> fetch_one(std::shared_ptr<Impl> self, WantedFile wanted,
                                                               NodeId from) {
    const ContentId content = wanted.file.content;
    while (self->fetching.contains(content)) co_await self->fetched.wait();
    if (self->store.has(content)) co_return std::expected<void, std::string>();
    if (from == self->core.members.self()) co_return Refusal(fmt::format("{} was not put here", wanted.file.path));
    self->fetching.insert(content);
    auto done = co_await transfer(self, wanted, from);
    self->fetching.erase(content);
    self->fetched.notify();
    co_return done;
  }

  static Awaitable<std::expected<void, std::string>> transfer(std::shared_ptr<Impl> self, WantedFile wanted,
                                                              NodeId from) {
    auto arrival = self->store.receive(wanted.file.content, wanted.size);
    if (!arrival) co_return Refusal(arrival.error());
    auto channel = co_await self->core.peers.get(from, Clock::now() + kDialTime);
    if (!channel) co_return Refusal(channel.error().message);
    v1::GetFileRequest request;
    request.set_sha256(wanted.file.content.as_bytes());
    rpc::ClientCall call = (*channel)->start("sluice.v1.Files/Get", {.timeout = std::nullopt});
    if (co_await call.write(request.SerializeAsString())) call.writes_done();
    while (auto bytes = co_await call.read()) {
      v1::FileChunk chunk;
      if (!chunk.ParseFromString(*bytes)) co_return Refusal("the answer is no message of its type");
      if (auto written = arrival->write(chunk.bytes()); !written) co_return written;
    }
    rpc::Status status = co_await call.finish();
    if (!status.ok()) co_return Refusal(status.message);
    co_return arrival->finish();
  }
};

FileService::FileService(NodeCore core, FileStore store) : impl_(std::make_shared<Impl>(core, std::move(store))) {}

FileService::~FileService() = default;

void FileService::register_methods(rpc::DispatchTable& table) {
  using net::Role;
  auto impl = impl_;
  table.add(
      {.name = "sluice.v1.Files/Lack",
       .roles = {Role::run, Role::operate, Role::node, Role::admin},
       .handler = rpc::unary_of<v1::LackRequest, v1::LackResponse>(
           [impl](const rpc::CallInfo&, v1::LackRequest request) { return Impl::lack(impl, std::move(request)); })});
  table.add({.name = "sluice.v1.Files/Put",
             .roles = {Role::run, Role::operate, Role::node, Role::admin},
             .client_streams = true,
             .mutating = true,
             .handler = [impl](rpc::ServerCall& call) { return Impl::put(impl, call); }});
  table.add({.name = "sluice.v1.Files/Get",
             .roles = {Role::node},
             .server_streams = true,
             .handler = [impl](rpc::ServerCall& call) { return Impl::get(impl, call); }});
}

Awaitable<std::expected<void, std::string>> FileService::fetch(std::vector<WantedFile> files, NodeId from) {
  auto impl = impl_;
  for (const WantedFile& wanted : files) {
    auto done = co_await Impl::fetch_one(impl, wanted, from);
    if (!done) co_return Refusal(fmt::format("{}: {}", wanted.file.path, done.error()));
  }
  co_return std::expected<void, std::string>();
}

std::string FileService::path_of(const ContentId& content) const { return impl_->store.path_of(content); }

}  // namespace sluice::node
