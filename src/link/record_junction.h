#pragma once
// Where several streams of records meet: links lead from inputs to outputs, whole records move along them.
//
// An input copies each record to every link that leaves it, or shares its records between them: each goes to the output
// that asks first. An output takes from its links in turns. What a link does when its output is slow, its backlog says
// (link_backlog.h); shared records wait at their input, since a slow output just asks less often.
//
// An output whose reader has gone gives back what is shared and its reader has not seen a byte of; what was copied for it
// is forgotten. An input that no link leads on from any more is `unread`: whoever writes there is to be told.
// Invariants, for each input: of a link that copies, accepted = delivered + dropped + forgotten + waiting + in hand; of
// links that share, what came in = the sum of delivered and in hand, + waiting. A link that shares has accepted what it
// has delivered: until then another may get it.
// Threading: pure but for the stores.
#include <cstddef>
#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "link/link_backlog.h"
#include "link/pending_records.h"
#include "link/record_batch.h"

namespace sluice::link {

struct JunctionLink {
  std::size_t input = 0;
  std::size_t output = 0;
  SlowRule slow = SlowRule::block;      // of one that copies
  std::unique_ptr<SpillStore> store{};  // of one that spills
};

struct JunctionShape {
  struct Input {
    bool shares = false;
  };
  std::vector<Input> inputs;
  std::size_t outputs = 0;
  std::vector<JunctionLink> links;  // at least one for each input and each output
};

struct JunctionOptions {
  std::size_t window_bytes = LinkBacklog::kWindowBytes;  // of a link that copies
  std::size_t drop_window_bytes = LinkBacklog::kDropWindowBytes;
  std::size_t shared_bytes_max = std::size_t{64} << 10;  // that wait at an input which shares
};

/// It is about one link.
struct JunctionError {
  std::size_t link = 0;
  std::string why;
};

struct JunctionCounts {
  RecordAmount accepted;
  RecordAmount delivered;          // an output has written them
  RecordAmount dropped;            // by its rule
  RecordAmount forgotten;          // they waited when its reader went
  std::uint64_t spilled_most = 0;  // bytes

  RecordAmount under_way() const;
};

class RecordJunction final {
 public:
  explicit RecordJunction(JunctionShape shape, const JunctionOptions& options = {});

  // --- inputs ---
  /// More may come: no link that leads on from it has to wait.
  bool wants(std::size_t input) const;
  /// Requires: wants(input), and ids above all before.
  std::expected<void, JunctionError> on_batch(std::size_t input, RecordBatch batch);
  void on_end(std::size_t input);
  /// Nobody reads what comes from there.
  bool unread(std::size_t input) const { return inputs_[input].open_links == 0; }

  // --- outputs ---
  struct Delivery {
    std::size_t link = 0;
    std::size_t input = 0;
    RecordBatch batch;
  };
  /// What is to be written there now, until on_written; null: nothing.
  std::expected<const Delivery*, JunctionError> delivery(std::size_t output);
  void on_written(std::size_t output);
  /// Of a delivery of shared records, one longer record aside.
  void set_shared_delivery_max(std::size_t output, std::size_t bytes) { outputs_[output].shared_max = bytes; }
  /// Its reader has gone, and has seen so many records of the delivery, the last maybe in part.
  void on_reader_gone(std::size_t output, std::uint32_t begun);
  /// All that leads to it has ended and is written.
  bool over(std::size_t output) const;
  bool reader_gone(std::size_t output) const { return outputs_[output].gone; }
  /// Every output is over, or has no reader.
  bool finished() const;

  JunctionCounts counts(std::size_t link) const;
  /// It has no room, and so keeps its input from being read.
  bool blocks(std::size_t link) const;
  /// Nothing is on its way to the output.
  bool idle(std::size_t link) const;

 private:
  struct Input {
    bool shares = false;
    bool ended = false;
    std::vector<std::size_t> links;
    std::size_t open_links = 0;
    PendingRecords shared;
    std::size_t in_hand = 0;  // outputs that have some of the shared ones
  };
  struct Output {
    std::vector<std::size_t> links;
    std::size_t turn = 0;
    std::optional<Delivery> delivery;
    std::size_t shared_max = std::size_t{16} << 10;  // so that none hoards
    bool gone = false;
  };
  struct Link {
    std::size_t input = 0;
    std::size_t output = 0;
    LinkBacklog backlog;
    JunctionCounts counts;
  };

  void deliver(Link& link, const RecordAmount& amount);
  bool is_open(const Link& link) const { return !outputs_[link.output].gone; }
  bool has_more(const Link& link) const;
  std::expected<RecordBatch, std::string> take(Link& link);
  void close(Link& link);

  JunctionOptions options_;
  std::vector<Input> inputs_;
  std::vector<Output> outputs_;
  std::vector<Link> links_;
};

}  // namespace sluice::link
