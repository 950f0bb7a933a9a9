#include "node/identity.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/durable_file.h"
#include "flow/stage_words.h"
#include "net/address.h"

namespace sluice::node {
namespace {

using Refusal = std::unexpected<std::string>;

constexpr std::size_t kNameMax = 63;  // a label of RFC 1035
constexpr const char* kAllowed = "abcdefghijklmnopqrstuvwxyz0123456789-";

std::expected<void, std::string> make_directory(const std::string& directory) {
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(directory).parent_path(), error);
  if (::mkdir(directory.c_str(), 0700) == 0) return {};
  if (errno != EEXIST)
    return Refusal(fmt::format("cannot make the data directory {}: {}; choose another with --data", directory,
                               std::strerror(errno)));
  struct stat status {};
  if (::stat(directory.c_str(), &status) != 0 || !S_ISDIR(status.st_mode))
    return Refusal(fmt::format("{} is no directory; choose another with --data", directory));
  if (status.st_uid != ::geteuid())
    return Refusal(fmt::format("the data directory {} belongs to another user; choose another with --data", directory));
  // Whoever may enter it could open the node's socket.
  if ((status.st_mode & 077) != 0 && ::chmod(directory.c_str(), 0700) != 0)
    return Refusal(fmt::format("the data directory {} is open to others: {}", directory, std::strerror(errno)));
  return {};
}

std::expected<UniqueFd, std::string> lock_directory(const std::string& directory) {
  std::string path = directory + "/lock";
  UniqueFd lock(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock) return Refusal(fmt::format("cannot open {}: {}", path, std::strerror(errno)));
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    char pid[32] = {};
    (void)!::pread(lock.get(), pid, sizeof pid - 1, 0);
    return Refusal(fmt::format("another node (pid {}) runs on {}; give this one a directory of its own with --data",
                               std::string(pid).substr(0, std::strcspn(pid, "\n")), directory));
  }
  std::string pid = std::to_string(::getpid()) + "\n";
  (void)!::ftruncate(lock.get(), 0);
  (void)!::pwrite(lock.get(), pid.data(), pid.size(), 0);
  return lock;
}

}  // namespace

std::expected<Identity, std::string> Identity::open(const std::string& directory) {
  if (auto made = make_directory(directory); !made) return Refusal(made.error());
  auto lock = lock_directory(directory);
  if (!lock) return Refusal(lock.error());
  Identity identity;
  identity.directory_ = directory;
  identity.lock_ = std::move(*lock);
  if (auto read = identity.read(); !read) return Refusal(read.error());
  ++identity.boot_;
  if (auto written = identity.write(); !written) return Refusal(written.error());
  return identity;
}

std::expected<void, std::string> Identity::read() {
  std::string path = directory_ + "/node.json";
  auto text = read_small_file(path, 65536);
  if (!text && text.error().number == ENOENT) {
    id_ = NodeId::random();
    return {};
  }
  if (!text) return Refusal(fmt::format("cannot read {}: {}", path, std::strerror(text.error().number)));
  auto json = nlohmann::json::parse(*text, nullptr, false);
  auto id = json.is_object() && json.contains("id") && json["id"].is_string()
                ? NodeId::parse(json["id"].get<std::string>())
                : std::nullopt;
  if (!id) return Refusal(fmt::format("{} is damaged; remove it to let this node come up as a new one", path));
  id_ = *id;
  boot_ = json.contains("boot") && json["boot"].is_number_unsigned() ? json["boot"].get<std::uint64_t>() : 0;
  name_ = json.contains("name") && json["name"].is_string() ? json["name"].get<std::string>() : "";
  return {};
}

std::expected<void, std::string> Identity::write() const {
  nlohmann::ordered_json json = {{"id", id_.text()}, {"name", name_}, {"boot", boot_}};
  std::string path = directory_ + "/node.json";
  if (auto written = write_file_durably(path, json.dump() + "\n", 0600); !written)
    return Refusal(fmt::format("cannot write {}: {}", path, std::strerror(written.error())));
  return {};
}

std::expected<void, std::string> Identity::set_name(const std::string& name) {
  if (name == name_) return {};
  name_ = name;
  return write();
}

std::expected<void, std::string> check_node_name(const std::string& name) {
  if (name.empty() || name.size() > kNameMax || name.find_first_not_of(kAllowed) != std::string::npos)
    return Refusal(fmt::format("'{}' is no name for a node: 1 to {} characters of a-z, 0-9 and -", name, kNameMax));
  if (flow::is_reserved_word(name))
    return Refusal(fmt::format("'{}' is no name for a node: pipeline text reads @{} otherwise", name, name));
  return {};
}

std::string default_node_name(std::uint16_t port) {
  utsname names{};
  std::string name = ::uname(&names) == 0 ? names.nodename : "node";
  name = name.substr(0, name.find('.'));
  for (char& c : name) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    if (std::string_view(kAllowed).find(c) == std::string_view::npos) c = '-';
  }
  if (name.empty() || flow::is_reserved_word(name)) name = "node";
  std::string suffix = port == net::kDefaultPort ? "" : fmt::format("-{}", port);
  return name.substr(0, kNameMax - suffix.size()) + suffix;
}

}  // namespace sluice::node
