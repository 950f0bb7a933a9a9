#pragma once
// The layout of a small flow over the nodes n1 and n2, asked for on n1.
// Threading: a value.
#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "node/flow_layout.h"
#include "sluice/v1/flows.pb.h"

namespace sluice::node {

class LaidOutFlow final {
 public:
  explicit LaidOutFlow(v1::RunStart run_start, bool has_client = true)
      : start(std::move(run_start)),
        layout(start, {.nodes = {{.id = n1, .name = "n1", .labels = {}}, {.id = n2, .name = "n2", .labels = {}}},
                       .gone = {},
                       .self = n1,
                       .has_client = has_client,
                       .address_of = [](const NodeId&) { return std::string("192.0.2.1:7070"); }}) {
    EXPECT_TRUE(check_request(start));
    layout.place_stages();
    EXPECT_EQ(layout.first_problem(), "");
    layout.make_parts();
  }

  /// Adds a stage that runs `command`, to be placed.
  static v1::StageRequest& add_stage(v1::RunStart& start, const std::string& command) {
    v1::StageRequest& stage = *start.add_stages();
    stage.mutable_text()->set_command(command);
    stage.mutable_text()->add_plain_words(command);
    return stage;
  }

  NodeId n1 = NodeId::random(), n2 = NodeId::random();
  v1::RunStart start;
  FlowLayout layout;
};

}  // namespace sluice::node
