#pragma once
// Another number of workers for a stage of a flow that runs: which part is told, and what it answers.
// Threading: belongs to the control loop.
#include <cstddef>
#include <cstdint>
#include <expected>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "net/async.h"
#include "node/condition.h"
#include "node/flow_layout.h"
#include "rpc/status.h"
#include "sluice/v1/host.pb.h"

namespace sluice::v1 {
class ScaleStageResponse;
}

namespace sluice::node {

class FlowScaling final {
 public:
  struct Request {
    std::size_t stage = 0;
    std::uint32_t workers = 0;
    std::optional<v1::WorkersSet> answer;
  };
  struct Order {
    std::size_t part = 0;
    v1::HostCommand command;
  };

  /// `layout` outlives it.
  FlowScaling(net::asio::any_io_executor executor, const FlowLayout& layout);

  /// `stage`: its number from 1, or its name. Hands the request to the flow, which begins it, and returns when it is
  /// answered. Errors: no such stage, its part's refusal, or the flow has ended.
  net::Awaitable<std::expected<v1::ScaleStageResponse, rpc::Status>> ask(
      std::string stage, std::uint32_t workers, std::function<void(std::shared_ptr<Request>)> hand_over);
  /// What is to be sent; nothing: it was refused. `runs`: whether a part does.
  std::optional<Order> begin(const std::shared_ptr<Request>& request, const std::function<bool(std::size_t)>& runs);
  void on_answer(v1::WorkersSet answer);
  /// The flow has ended: nobody is answered any more.
  void on_end();

 private:
  std::optional<std::size_t> stage_named(const std::string& name) const;
  std::string list_of_stages() const;
  void refuse(Request& request, const std::string& why);

  const FlowLayout& layout_;
  Condition answered_;
  std::map<std::uint64_t, std::shared_ptr<Request>> open_;
  std::uint64_t last_ = 0;
  bool ended_ = false;
};

}  // namespace sluice::node
