#pragma once
// A worker that was started by hand, as its call and the part that has taken it share it.
//
//   waiting -> taken -> serving -> over; from any of the first three to
//                                  cut: its caller is gone, or the part that has taken it, or the node ends
// Threading: belongs to the control loop.
#include <deque>
#include <string>
#include <utility>

#include "base/unique_fd.h"
#include "node/condition.h"
#include "sluice/v1/roles.pb.h"

namespace sluice::node {

struct OfferedWorker {
  OfferedWorker(net::asio::any_io_executor executor, v1::RoleOffer what)
      : offer(std::move(what)), changed(std::move(executor)) {}

  v1::RoleOffer offer;
  Condition changed;
  bool serving = false;
  v1::RoleTask task;            // once it serves
  UniqueFd requests, replies;   // likewise, until its call has them
  bool requests_ended = false;  // what was asked of it is whole
  std::deque<int> signals;      // to be passed on to its program
  bool cut = false;             // what was asked of it is not whole
  std::string cut_for;
  bool leaving = false;  // it has said that it serves nobody any more
  bool lost = false;     // it ended without a word, while it was to serve
};

}  // namespace sluice::node
