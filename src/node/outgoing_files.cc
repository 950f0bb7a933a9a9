#include "node/outgoing_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <glob.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <optional>
#include <utility>

#include "base/quantity.h"
#include "base/unique_fd.h"
#include "node/file_store.h"
#include "sluice/v1/host.pb.h"

namespace sluice::node {

using net::Awaitable;

namespace {

using Refusal = std::unexpected<std::string>;
using Kind = flow::Whereabouts::Kind;

constexpr std::size_t kPieceSize = std::size_t{256} << 10;

// Only the words say where: the names of nodes are the cluster's business.
std::vector<bool> stages_elsewhere(const flow::FlowGraph& graph, bool nothing_here) {
  std::vector<bool> elsewhere, records_elsewhere;
  for (std::size_t i = 0; i < graph.stages.size(); ++i) {
    const flow::StageWords& words = graph.stages[i].words;
    Kind kind = words.where.kind;
    // Its records stay beside those of its left neighbour; its workers may be anywhere.
    bool shares = words.workers && (kind == Kind::beside_neighbour || kind == Kind::label);
    bool beside = kind == Kind::beside_neighbour || shares;
    auto left = flow::left_neighbour(graph, i);
    bool left_elsewhere = left && records_elsewhere[*left];
    records_elsewhere.push_back(nothing_here || (beside ? left_elsewhere : kind != Kind::here));
    elsewhere.push_back(records_elsewhere.back() || shares);
  }
  return elsewhere;
}

// Of its first `size` bytes: a log may grow faster than it is read. That it became shorter is noticed when it travels.
std::expected<ContentId, int> hash_of(int file, std::uint64_t size) {
  ContentHash hash;
  std::vector<char> buffer(kPieceSize);
  while (size > 0) {
    ssize_t got = ::read(file, buffer.data(), std::min<std::uint64_t>(buffer.size(), size));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return std::unexpected(errno);
    if (got == 0) break;
    hash.update(std::span<const char>(buffer.data(), static_cast<std::size_t>(got)));
    size -= static_cast<std::uint64_t>(got);
  }
  return hash.finish();
}

// `./a/../b` is ./b, but there would be no folder ./a elsewhere to go through.
std::optional<std::string> way_through_a_folder(const std::string& word) {
  bool below = false;
  for (const std::filesystem::path& level : std::filesystem::path(word)) {
    if (level == ".." && below) {
      std::string straight = std::filesystem::path(word).lexically_normal();
      return fmt::format("{}: goes through a folder that is not there elsewhere; write {}{}", word,
                         straight.starts_with("../") ? "" : "./", straight);
    }
    below = below || (level != "." && level != "..");
  }
  return std::nullopt;
}

// What is there and is no file; none if there is nothing.
const char* kind_that_stays(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0 || S_ISREG(status.st_mode)) return nullptr;
  if (S_ISDIR(status.st_mode)) return "a folder";
  return S_ISFIFO(status.st_mode) ? "a pipe" : S_ISSOCK(status.st_mode) ? "a socket" : "a device";
}

bool matches_here(const std::string& pattern) {
  glob_t found{};
  bool matches = ::glob(pattern.c_str(), GLOB_NOSORT, nullptr, &found) == 0;
  ::globfree(&found);
  return matches;
}

class Look final {
 public:
  explicit Look(const ShipOptions& options) : options_(options) {}

  /// Nothing: it is no file that travels. Errors: why it can't.
  std::expected<std::optional<std::string>, std::string> at(const std::string& word) {
    std::string path = std::filesystem::path(word).lexically_normal();
    if (std::ranges::find(found_.files, path, &OutgoingFile::path) != found_.files.end()) return path;
    struct stat status {};
    if (::stat(word.c_str(), &status) != 0)
      return Refusal(
          fmt::format("{}: {}; a stage elsewhere gets the files that it names (quote the word if the stage "
                      "makes it itself)",
                      word, errno == ENOENT ? "no such file here" : std::strerror(errno)));
    if (!S_ISREG(status.st_mode)) return std::nullopt;
    if (auto problem = shipped_path_problem(path)) return Refusal(fmt::format("{}: {}", word, *problem));
    auto size = static_cast<std::uint64_t>(status.st_size);
    if (size > options_.size_max)
      return Refusal(
          fmt::format("{}: has {}, and at most {} are shipped (--ship-max); put it on the node, or pipe it in", word,
                      format_bytes({size}), format_bytes({options_.size_max})));
    UniqueFd file(::open(word.c_str(), O_RDONLY | O_CLOEXEC));
    auto content = file ? hash_of(file.get(), size) : std::unexpected(errno);
    if (!content) return Refusal(fmt::format("{}: cannot be read: {}", word, std::strerror(content.error())));
    bool executable = (status.st_mode & S_IXUSR) != 0;
    found_.files.push_back({.path = path, .content = *content, .size = size, .executable = executable});
    return path;
  }

  OutgoingFiles take() { return std::move(found_); }

 private:
  const ShipOptions& options_;
  OutgoingFiles found_;
};

}  // namespace

std::expected<OutgoingFiles, std::string> look_for_files(const flow::FlowGraph& graph, const ShipOptions& options) {
  Look look(options);
  std::vector<std::string> extra;
  for (const std::string& file : options.extra) {
    auto path = look.at(file);
    if (!path) return Refusal("--ship " + path.error());
    if (!*path) return Refusal(fmt::format("--ship {}: is no regular file; name each file", file));
    extra.push_back(**path);
  }
  std::vector<OutgoingFiles::OfStage> stages;
  std::vector<bool> elsewhere = stages_elsewhere(graph, options.nothing_here);
  for (std::size_t i = 0; i < graph.stages.size(); ++i) {
    OutgoingFiles::OfStage& stage = stages.emplace_back();
    if (!elsewhere[i]) continue;
    stage.paths = extra;
    for (const flow::PathWord& word : graph.stages[i].path_words) {
      if (word.made_by_command && ::access(word.path.c_str(), F_OK) != 0) continue;
      if (auto detour = way_through_a_folder(word.path)) {
        stage.problems.push_back(*detour);
        continue;
      }
      auto path = look.at(word.path);
      if (!path)
        stage.problems.push_back(path.error());
      else if (*path && std::ranges::find(stage.paths, **path) == stage.paths.end())
        stage.paths.push_back(**path);
      else if (const char* kind = *path ? nullptr : kind_that_stays(word.path))
        stage.left_behind.push_back(fmt::format("{}, {}", word.path, kind));
    }
    for (const std::string& pattern : graph.stages[i].path_patterns)
      if (matches_here(pattern)) stage.left_behind.push_back(pattern + ", a pattern");
  }
  OutgoingFiles found = look.take();
  found.stages = std::move(stages);
  return found;
}

namespace {

Awaitable<std::expected<void, std::string>> put_file(rpc::Channel& channel, OutgoingFile file,
                                                     std::function<bool()> stopped) {
  UniqueFd opened(::open(file.path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!opened) co_return Refusal(fmt::format("{}: cannot be read: {}", file.path, std::strerror(errno)));
  rpc::ClientCall call = channel.start("sluice.v1.Files/Put", {.timeout = std::nullopt});
  std::string buffer(kPieceSize, '\0');
  std::uint64_t left = file.size;
  for (bool first = true; !stopped(); first = false) {
    ssize_t got = ::read(opened.get(), buffer.data(), std::min<std::uint64_t>(buffer.size(), left));
    if (got < 0) co_return Refusal(fmt::format("{}: cannot be read: {}", file.path, std::strerror(errno)));
    if (got == 0 && !first) break;
    v1::PutRequest request;
    if (first) {
      request.set_sha256(file.content.as_bytes());
      request.set_size(file.size);
    }
    request.set_bytes(buffer.data(), static_cast<std::size_t>(got));
    left -= static_cast<std::uint64_t>(got);
    if (!co_await call.write(request.SerializeAsString())) break;
  }
  if (stopped()) co_return Refusal("interrupted");
  call.writes_done();
  rpc::Status status = co_await call.finish();
  if (!status.ok()) co_return Refusal(fmt::format("{}: {}", file.path, status.message));
  co_return std::expected<void, std::string>();
}

}  // namespace

Awaitable<std::expected<void, std::string>> put_files(rpc::Channel& channel, std::vector<OutgoingFile> files,
                                                      std::function<bool()> stopped) {
  if (files.empty()) co_return std::expected<void, std::string>();
  v1::LackRequest request;
  for (const OutgoingFile& file : files) request.add_sha256(file.content.as_bytes());
  auto lacking = co_await rpc::call<v1::LackResponse>(channel, "sluice.v1.Files/Lack", request);
  if (!lacking) co_return Refusal(lacking.error().message);
  for (const OutgoingFile& file : files) {
    auto* wanted = lacking->mutable_sha256();
    auto found = std::ranges::find(*wanted, file.content.as_bytes());
    if (found == wanted->end()) continue;
    wanted->erase(found);  // two paths may have one content
    auto put = co_await put_file(channel, file, stopped);
    if (!put) co_return put;
  }
  co_return std::expected<void, std::string>();
}

}  // namespace sluice::node
