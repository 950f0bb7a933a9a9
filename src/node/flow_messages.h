#pragma once
// Between the flow's own values and the messages of the public API.
// Threading: pure functions.
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "exec/spawn_protocol.h"
#include "flow/distributed_run.h"
#include "flow/graph.h"
#include "flow/placement.h"

namespace sluice::v1 {
class Exited;
class FlowEnded;
class RecordRules;
class StageRequest;
class StageText;
class SurveyResult;
}  // namespace sluice::v1

namespace sluice::node {

void to_message(const flow::Stage& stage, std::size_t index, v1::StageText& text);
bool takes_records(const v1::StageText& text);
/// What is said of it in counters: filter, spread, map, each, worker.
std::string kind_of(const v1::StageText& text);
/// A stage that has neither words nor a text for a shell is nothing that can run.
std::optional<flow::Stage> stage_from(const v1::StageText& text);

void to_message(const flow::Stage& stage, std::size_t index, v1::StageRequest& request);
flow::Whereabouts whereabouts_from(const v1::StageRequest& request);
/// `rules`: of the flow.
flow::StageNeeds needs_from(const v1::StageRequest& request, const v1::RecordRules& rules);

/// `stage`: its index in the flow.
void to_message(const exec::Exited& exited, std::uint32_t stage, v1::Exited& message);
flow::StageEnd stage_end_from(const v1::Exited& exited);
std::vector<flow::Straggler> stragglers_from(const v1::SurveyResult& survey);

std::string_view pipefail_name(flow::PipefailRule rule);
std::optional<flow::PipefailRule> pipefail_from(std::string_view name);

void fill_end(const flow::DistributedRun& run, v1::FlowEnded& ended);

}  // namespace sluice::node
