#pragma once
// Where each stage of a flow runs, and which neighbours share a host: the pass between what the user wrote and the links.
//
// A stage with no @ word runs beside its left neighbour, the first beside the client. Neighbours on one host form a part:
// kernel pipes join them, and one spawner runs them. Between parts go byte links. The client's own stdin and stdout are
// parts without a stage where the flow begins or ends elsewhere.
// Threading: pure functions.
#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/id.h"
#include "flow/stage_words.h"

namespace sluice::flow {

/// A node that stages may be put on.
struct NodeChoice {
  NodeId id;
  std::string name;
  std::map<std::string, std::string> labels;
};

struct PlacementContext {
  std::vector<NodeChoice> nodes;            // alive, in the order of their names
  std::map<std::string, std::string> gone;  // names of others that are remembered, and what they are: "is dead"
  NodeId home;                              // the node that was asked
  std::string client_name;
};

/// A host of a flow: a node, or nothing for the client.
using Host = std::optional<NodeId>;

struct StagePlace {
  std::vector<Host> hosts;  // one, but for @all; none if there is a problem
  std::string place;        // "here", "db1", "n1 n2 n3"
  std::string reason;       // "beside stage 1", "@db1", "label gpu=yes, of n2 n3"
  std::string problem;      // empty: none
  bool everywhere = false;  // @all, however many nodes there are
};

std::vector<StagePlace> place_stages(const std::vector<Whereabouts>& wanted, const PlacementContext& context);

/// Stages that run together on one host; without a stage it is an end of the client's.
struct Part {
  Host host;
  std::vector<std::size_t> stages;
  std::vector<std::size_t> inputs;    // links
  std::optional<std::size_t> output;  // link
  bool operator==(const Part&) const = default;
};

struct PartLink {
  std::size_t from = 0;  // part
  std::size_t to = 0;
  bool operator==(const PartLink&) const = default;
};

struct PartGraph {
  std::vector<Part> parts;
  std::vector<PartLink> links;
};

struct PartOptions {
  bool client_input = true;   // the client has a stdin that the flow may read
  bool client_output = true;  // the client takes the output (not in the background, nor for /dev/null)
};

/// Requires places without problems.
PartGraph make_parts(const std::vector<StagePlace>& places, const PartOptions& options);

}  // namespace sluice::flow
