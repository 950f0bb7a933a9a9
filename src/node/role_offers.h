#pragma once
// The workers that were started by hand and wait on this node, each under the name of a role, until a part of a flow takes
// one (role_service.h has their calls).
// Threading: belongs to the control loop.
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "node/part_surroundings.h"

namespace sluice::v1 {
class RoleOffer;
}

namespace sluice::node {

struct OfferedWorker;

class RoleOffers final {
 public:
  /// Gives it its id.
  void add(const std::shared_ptr<OfferedWorker>& worker);
  void remove(const std::string& id) { waiting_.erase(id); }
  bool waits(const std::string& id) const { return waiting_.contains(id); }
  std::vector<v1::RoleOffer> list() const;
  /// Nothing: it does not wait here any more.
  std::unique_ptr<JoinedSeat> take(const std::string& id);

 private:
  std::map<std::string, std::shared_ptr<OfferedWorker>> waiting_;  // by id
};

}  // namespace sluice::node
