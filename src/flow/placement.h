#pragma once
// Where each stage of a flow runs, and which neighbours share a host: the pass between what the user wrote and the links.
//
// A stage with no place of its own runs beside its left neighbour (`left_neighbour` says which that is), and beside the
// client if it has none. Stages on one host that links join form a part: one spawner runs them, and what joins them is as
// in a flow on one machine. Each link between parts is a byte link of its own, so records are copied where they are written,
// and merged where they are read. The client's own stdin and stdout are a part without a stage where no stage beside it
// has them.
//
// A stage of many workers has its records where its left neighbour is, and its workers on the nodes with the most free
// cores: each of those has a part with *seats*, one for each worker. A stage that workers may join has all of them in seats:
// so one that joins is another of the same kind, wherever it runs.
// Threading: pure functions.
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/id.h"
#include "flow/graph.h"
#include "flow/stage_words.h"

namespace sluice::flow {

/// A node that stages may be put on.
struct NodeChoice {
  NodeId id;
  std::string name;
  std::map<std::string, std::string> labels;
  double free_cores = 1;  // for stages of many workers: those that nothing runs on
};

struct PlacementContext {
  std::vector<NodeChoice> nodes;            // alive, in the order of their names
  std::map<std::string, std::string> gone;  // names of others that are remembered, and what they are: "is dead"
  NodeId home;                              // the node that was asked
  std::string client_name;
};

/// A host of a flow: a node, or nothing for the client.
using Host = std::optional<NodeId>;

/// Workers of a stage on one host that is not, or not alone, where its records are.
struct SeatChoice {
  Host host;
  std::uint32_t workers = 0;
  bool operator==(const SeatChoice&) const = default;
};

/// Where the user wants a stage, and what of it a place depends on.
struct StageNeeds {
  Whereabouts where;
  std::uint32_t workers = 0;  // of a stage that takes records; else 0
  bool spreads = false;       // the user said how many workers: they may go over the nodes
  bool runs_again = false;    // what a worker that is lost had not done
  bool home_here = false;     // what it writes beside its output belongs to the client's host
  bool joins = false;         // workers that are started by hand may join it; without `workers` it has no others
};

struct StagePlace {
  std::vector<Host> hosts;  // one, but for @all; none if there is a problem
  std::string place;        // "here", "db1", "n1 n2 n3"
  std::string reason;       // "beside stage 1", "@db1", "label gpu=yes, of n2 n3"
  std::string problem;      // empty: none
  bool everywhere = false;  // @all, however many nodes there are
  // Where its workers run, if that is not simply its host, which then only hands out the records and takes the answers.
  std::vector<SeatChoice> seats = {};
  bool runs_again = false;  // StageNeeds
};

/// Requires: each link of `graph` leads on to a later stage; `wanted` has one entry for each stage.
std::vector<StagePlace> place_stages(const FlowGraph& graph, const std::vector<StageNeeds>& wanted,
                                     const PlacementContext& context);

/// One worker of a stage on another host than its records: what it is asked, and what it answers.
struct Seat {
  std::size_t stage = 0;
  std::size_t requests = 0, replies = 0;  // links
  bool operator==(const Seat&) const = default;
};

/// What comes to a part from a stage elsewhere, or leads to one.
struct PartStream {
  std::optional<std::size_t> link = {};  // of the flow's graph; nothing: the client's stdin or stdout
  std::optional<std::size_t> from = {};  // stage; nothing: the client's stdin
  std::optional<std::size_t> to = {};    // stage; nothing: the client's stdout
  // Between the parts: several if the stage elsewhere is one of @all. Their lines are merged, or all get the same.
  std::vector<std::size_t> links = {};
  bool operator==(const PartStream&) const = default;
};

/// Stages that run together on one host; without a stage it is an end of the client's, or the seats of a stage whose
/// records another part has.
struct Part {
  Host host;
  std::vector<std::size_t> stages;
  std::vector<PartStream> inputs = {};
  std::vector<PartStream> outputs = {};
  std::vector<std::size_t> inner_links = {};    // of the flow's graph: both stages are in the part
  std::optional<std::size_t> reads_stdin = {};  // its stage that reads the client's own
  std::vector<std::size_t> write_stdout = {};   // its stages that write to the client's own
  std::vector<Seat> seats = {};                 // of its stages, elsewhere; or those that are here
  std::optional<std::size_t> seats_of = {};     // stage: it has seats, and no stage
  bool runs_again = false;                      // elsewhere, what was under way in seats that are lost
  bool joined = false;                          // a seat of a worker that has come while the flow runs
  bool operator==(const Part&) const = default;
};

struct PartLink {
  std::size_t from = 0;  // part
  std::size_t to = 0;
  bool of_seat = false;
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

/// Requires places without problems, of `place_stages` for `graph`.
PartGraph make_parts(const FlowGraph& graph, const std::vector<StagePlace>& places, const PartOptions& options);

}  // namespace sluice::flow
