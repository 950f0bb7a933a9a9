#include "node/flow_layout.h"

#include <gtest/gtest.h>

#include "node/layout_for_test.h"
#include "sluice/v1/flows.pb.h"

namespace sluice::node {
namespace {

TEST(FlowLayout, KnowsAsManyWorkersThatJoinedAsItsLinksAllow) {
  v1::RunStart start;
  start.set_pipefail("lenient");
  v1::StageRequest& stage = LaidOutFlow::add_stage(start, "./worker");
  stage.mutable_where()->set_kind(v1::Whereabouts::KIND_BESIDE_NEIGHBOUR);
  LaidOutFlow flow(start, false);
  const std::size_t own = flow.layout.graph().links.size();
  std::size_t joined = 0;
  for (; flow.layout.has_room_for_seat(); ++joined) {
    FlowLayout::JoinedSeat seat = flow.layout.add_seat(0, flow.n2);
    ASSERT_EQ(flow.layout.graph().parts[seat.part].host, flow::Host(flow.n2));
  }
  EXPECT_EQ(own + 2 * joined, 65'536u);
}

}  // namespace
}  // namespace sluice::node
