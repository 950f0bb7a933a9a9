#pragma once
// What people and JSON are told of the state that a flow is in.
#include "sluice/v1/flows.pb.h"

namespace sluice::cli {

inline const char* state_text(v1::FlowState state) {
  switch (state) {
    case v1::FLOW_STATE_STARTING:
      return "starting";
    case v1::FLOW_STATE_RUNNING:
      return "running";
    case v1::FLOW_STATE_ENDING:
      return "ending";
    case v1::FLOW_STATE_ENDED:
      return "ended";
    default:
      return "unknown";
  }
}

}  // namespace sluice::cli
