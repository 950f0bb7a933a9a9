#pragma once
// The files of the client that stages elsewhere need: those that they name, and those that the user added.
//
// A stage gets the plain, unquoted words that begin with ./ or ../ and name a regular file. A folder, a device or a pipe is
// left alone; a file that is missing, can't be read or is too large is a problem of the stage, told before anything starts.
// Threading: one loop.
#include <cstddef>
#include <cstdint>
#include <expected>
#include <functional>
#include <string>
#include <vector>

#include "flow/graph.h"
#include "net/async.h"
#include "node/content_hash.h"
#include "rpc/channel.h"

namespace sluice::node {

struct OutgoingFile {
  std::string path;  // relative to the current folder, normalised
  ContentId content;
  std::uint64_t size = 0;
  bool executable = false;
};

struct OutgoingFiles {
  struct OfStage {
    std::vector<std::string> paths;
    std::vector<std::string> problems;
    std::vector<std::string>
        left_behind;  // words that it names, and that may be missed if it fails: "./logs, a folder"
  };
  std::vector<OutgoingFile> files;
  std::vector<OfStage> stages;
};

struct ShipOptions {
  std::vector<std::string> extra;  // --ship, for every stage elsewhere
  std::uint64_t size_max = std::uint64_t{64} << 20;
  bool nothing_here = false;  // a background flow: no stage runs on the client
};

/// Reads every file that is to travel, for its hash. Errors: a sentence about one of `extra`.
std::expected<OutgoingFiles, std::string> look_for_files(const flow::FlowGraph& graph, const ShipOptions& options);

/// Puts those that the node lacks. `stopped` is asked between pieces. Errors: a sentence.
net::Awaitable<std::expected<void, std::string>> put_files(rpc::Channel& channel, std::vector<OutgoingFile> files,
                                                           std::function<bool()> stopped);

}  // namespace sluice::node
