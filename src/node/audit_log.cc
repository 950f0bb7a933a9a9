#include "node/audit_log.h"

#include <fcntl.h>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>

namespace sluice::node {
namespace {

std::string utc_now() {
  auto now = std::chrono::system_clock::now();
  auto milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count() % 1000;
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(std::chrono::system_clock::to_time_t(now)),
                     milliseconds);
}

std::string to_line(const rpc::CallInfo& call, bool allowed) {
  nlohmann::ordered_json line = {{"time", utc_now()},
                                 {"method", call.method},
                                 {"allowed", allowed},
                                 {"who", call.caller.connection.name},
                                 {"role", net::role_name(call.caller.connection.role)},
                                 {"from", call.caller.remote}};
  if (call.caller.connection.serial) line["serial"] = call.caller.connection.serial->text();
  if (!call.caller.on_behalf_of.empty()) {
    line["on_behalf_of"] = call.caller.on_behalf_of;
    line["effective_role"] = net::role_name(call.caller.effective);
  }
  if (!call.object.empty()) {
    nlohmann::ordered_json& object = line["object"] = nlohmann::ordered_json::object();
    for (const auto& [key, value] : call.object) object[key] = value.substr(0, kAuditValueMax);
  }
  return line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace

std::expected<AuditLog, std::string> AuditLog::open(const std::string& data_directory) {
  AuditLog log(data_directory + "/audit.log");
  if (auto opened = log.reopen(); !opened)
    return std::unexpected(fmt::format("cannot open {}: {}", log.path_, std::strerror(opened.error())));
  return log;
}

std::expected<void, int> AuditLog::reopen() {
  file_.reset(::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file_) return std::unexpected(errno);
  struct stat status {};
  size_ = ::fstat(file_.get(), &status) == 0 ? static_cast<std::size_t>(status.st_size) : 0;
  reserved_ = 0;
  keep_reserve();
  return {};
}

std::expected<void, int> AuditLog::make_ready() {
  struct stat status {};
  bool removed = ::fstat(file_.get(), &status) != 0 || status.st_nlink == 0;
  if (removed) return reopen();
  std::string older = path_ + ".1";
  if (size_ >= kAuditFileMax && ::rename(path_.c_str(), older.c_str()) == 0) return reopen();
  return {};
}

// Blocks behind the end of the file; a file system that has no such thing has no reserve.
void AuditLog::keep_reserve() {
  if (reserved_ >= size_ + kAuditReserve / 2) return;
  int done = ::fallocate(file_.get(), FALLOC_FL_KEEP_SIZE, static_cast<off_t>(size_), kAuditReserve);
  if (done == 0) reserved_ = size_ + kAuditReserve;
}

std::expected<void, int> AuditLog::write(const rpc::CallInfo& call, bool allowed) {
  if (auto ready = make_ready(); !ready) return ready;
  std::string line = to_line(call, allowed);
  ssize_t written = ::write(file_.get(), line.data(), line.size());
  if (written != static_cast<ssize_t>(line.size())) {
    int error = written < 0 ? errno : ENOSPC;
    // The next line must not be joined to half of this.
    if (written > 0) (void)!::ftruncate(file_.get(), static_cast<off_t>(size_));
    return std::unexpected(error);
  }
  size_ += line.size();
  keep_reserve();
  return {};
}

}  // namespace sluice::node
