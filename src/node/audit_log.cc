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
  return {};
}

std::expected<void, int> AuditLog::write(const rpc::CallInfo& call, bool allowed) {
  if (size_ >= kAuditFileMax) {
    std::string older = path_ + ".1";
    if (::rename(path_.c_str(), older.c_str()) == 0)
      if (auto opened = reopen(); !opened) return opened;
  }
  std::string line = to_line(call, allowed);
  ssize_t written = ::write(file_.get(), line.data(), line.size());
  if (written != static_cast<ssize_t>(line.size())) {
    int error = written < 0 ? errno : ENOSPC;
    (void)!::ftruncate(file_.get(), static_cast<off_t>(size_));  // the next line must not be joined to half of this
    return std::unexpected(error);
  }
  size_ += line.size();
  return {};
}

}  // namespace sluice::node
