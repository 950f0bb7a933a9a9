#include "node/role_offers.h"

#include <utility>

#include "base/id.h"
#include "node/offered_worker.h"

namespace sluice::node {
namespace {

class TakenWorker final : public JoinedSeat {
 public:
  explicit TakenWorker(std::shared_ptr<OfferedWorker> worker) : worker_(std::move(worker)) {}
  // One that never served is offered again by whoever started it.
  ~TakenWorker() override {
    if (!worker_->serving) cut("the flow did without it");
  }

  void serve(const v1::RoleTask& task, UniqueFd requests, UniqueFd replies) override {
    if (worker_->cut) return;  // the pipes close, and with them the links
    worker_->task = task;
    worker_->requests = std::move(requests);
    worker_->replies = std::move(replies);
    worker_->serving = true;
    worker_->changed.notify();
  }
  void signal(int number) override {
    worker_->signals.push_back(number);
    worker_->changed.notify();
  }
  void cut(const std::string& why) override {
    if (std::exchange(worker_->cut, true)) return;
    worker_->cut_for = why;
    worker_->changed.notify();
  }
  End end() const override { return worker_->lost ? End::lost : worker_->leaving ? End::left : End::not_needed; }

 private:
  std::shared_ptr<OfferedWorker> worker_;
};

}  // namespace

void RoleOffers::add(const std::shared_ptr<OfferedWorker>& worker) {
  worker->offer.set_id(FlowId::random().text());
  waiting_[worker->offer.id()] = worker;
}

std::vector<v1::RoleOffer> RoleOffers::list() const {
  std::vector<v1::RoleOffer> offers;
  for (const auto& [id, worker] : waiting_) offers.push_back(worker->offer);
  return offers;
}

std::unique_ptr<JoinedSeat> RoleOffers::take(const std::string& id) {
  auto found = waiting_.find(id);
  if (found == waiting_.end() || found->second->cut) return nullptr;
  auto taken = std::make_unique<TakenWorker>(std::move(found->second));
  waiting_.erase(found);
  return taken;
}

}  // namespace sluice::node
