#pragma once
// The records that one worker has in hand: given to it, and not settled yet, which it may do in any order.
// Each came over one of the links into the stage.
// Invariants: `count` is the number of records that are not settled; those of different batches have different ids.
// Threading: a value.
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "link/record_batch.h"

namespace sluice::flow {

/// Which of the links into a stage, from 0.
using LinkNumber = std::uint32_t;

struct LinkedBatch {
  link::RecordBatch batch;
  LinkNumber link = 0;
};

class WorkerHand final {
 public:
  bool empty() const { return count_ == 0; }
  std::uint64_t count() const { return count_; }
  /// Of those that came over that link.
  std::uint64_t count(LinkNumber link) const { return link < of_link_.size() ? of_link_[link].count : 0; }
  /// Of the batches that are not settled whole: their memory is held until then.
  std::size_t bytes() const { return bytes_; }
  std::size_t bytes(LinkNumber link) const { return link < of_link_.size() ? of_link_[link].bytes : 0; }

  /// Requires: not empty, and of other ids than what it has.
  void add(link::RecordBatch batch, LinkNumber link = 0);
  bool has(link::RecordId id) const;
  /// False, and nothing changes: it has not all of these.
  bool settle(link::RecordId first, std::uint32_t count);
  /// Takes one out. Nothing: it has it not.
  std::optional<LinkedBatch> take(link::RecordId id);
  /// Takes all out, in the order of their ids.
  std::vector<LinkedBatch> take_all();

 private:
  struct Given {
    link::RecordBatch batch;
    LinkNumber link = 0;
    std::vector<bool> settled;
    std::uint32_t left = 0;
  };
  using Batches = std::map<link::RecordId, Given>;

  Batches::iterator holding(link::RecordId id);
  Batches::const_iterator holding(link::RecordId id) const;
  bool has_all(link::RecordId first, std::uint32_t count) const;
  void put_back(LinkedBatch part, std::vector<bool>::const_iterator settled);
  struct Amount {
    std::uint64_t count = 0;
    std::size_t bytes = 0;
  };
  void add_to(LinkNumber link, const Amount& amount);
  void take_from(LinkNumber link, const Amount& amount);

  Batches batches_;  // by their first id
  std::uint64_t count_ = 0;
  std::vector<Amount> of_link_;  // which add up to the two
  std::size_t bytes_ = 0;
};

}  // namespace sluice::flow
