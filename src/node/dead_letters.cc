#include "node/dead_letters.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "api/base64.h"
#include "node/lasting_file.h"

namespace sluice::node {
namespace {

using Json = nlohmann::ordered_json;

bool is_utf8(std::string_view text) {
  try {
    (void)Json(text).dump();
  } catch (const Json::type_error&) {  // the library's only way to say so
    return false;
  }
  return true;
}

}  // namespace

std::string to_json(const DeadLetter& letter) {
  Json json;
  json["flow"] = letter.flow.empty() ? Json() : Json(letter.flow);
  json["stage"] = letter.stage;
  json["command"] = letter.command;
  json["number"] = letter.number;
  json["attempts"] = letter.attempts;
  bool ended = letter.end.kind != flow::AttemptEnd::Kind::refused;
  json["status"] = ended ? Json(letter.end.status.shell_status()) : Json();
  json["signal"] = ended && letter.end.status.by_signal() ? Json(letter.end.status.signal()) : Json();
  json["why"] = letter.end.why.empty() ? Json() : Json(letter.end.why);
  json["stderr"] = letter.stderr_tail;
  if (is_utf8(letter.record)) {
    json["record"] = letter.record;
  } else {
    std::string encoded;
    api::append_base64(encoded, letter.record);
    json["record_base64"] = encoded;
  }
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::expected<DeadLetters, std::string> DeadLetters::open(const std::string& path) {
  auto file = open_lasting(path, O_WRONLY);
  if (!file) return std::unexpected(fmt::format("--dead-letter {}: {}", path, file.error()));
  return DeadLetters(path, *std::move(file));
}

std::expected<void, std::string> DeadLetters::bury(const DeadLetter& letter) {
  std::string line = to_json(letter) + "\n";
  std::lock_guard lock(mutex_);
  auto refuse = [&](int error) {
    return std::unexpected(fmt::format("--dead-letter {}: {}", path_, std::strerror(error)));
  };
  for (std::string_view rest = line; !rest.empty();) {
    ssize_t written = ::write(file_.get(), rest.data(), rest.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return refuse(written < 0 ? errno : ENOSPC);
    rest.remove_prefix(static_cast<std::size_t>(written));
  }
  // A device is nothing that could be synced.
  if (::fdatasync(file_.get()) != 0 && errno != EINVAL && errno != EROFS) return refuse(errno);
  return {};
}

}  // namespace sluice::node
