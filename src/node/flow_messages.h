#pragma once
// Between the flow's own values and the messages of the public API.
// Threading: pure functions.
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "exec/spawn_protocol.h"
#include "flow/distributed_run.h"
#include "flow/flow_summary.h"
#include "flow/graph.h"
#include "flow/placement.h"

namespace sluice::flow {
struct StallParty;
}

namespace sluice::v1 {
class Exited;
class FlowEnded;
class LinkCount;
class PartStream;
class RecordRules;
class RunStart;
class Slow;
class StageLink;
class StageRequest;
class StageText;
class SurveyResult;
class WaitingParty;
}  // namespace sluice::v1

namespace sluice::node {

void to_message(const flow::Stage& stage, std::size_t index, v1::StageText& text);
bool takes_records(const v1::StageText& text);
/// What is said of it in counters: filter, spread, map, each, worker.
std::string kind_of(const v1::StageText& text);
/// A stage that has neither words nor a text for a shell is nothing that can run.
std::optional<flow::Stage> stage_from(const v1::StageText& text);
/// "stage 3", or "stage 'merger'".
std::string title_of(const v1::StageText& text);

void to_message(const flow::Link& link, v1::StageLink& message);
flow::Link link_from(const v1::StageLink& message);
flow::SlowPolicy slow_from(const v1::Slow& message);
/// Of the flow: each stage as its text says it. Errors: a sentence; its links are none that can run.
std::expected<flow::FlowGraph, std::string> graph_from(const v1::RunStart& start);
/// What `from` writes, as the part that reads it has to know.
void set_framing(const flow::Stage& from, v1::PartStream& stream);
void to_message(const flow::LinkSummary& link, v1::LinkCount& message);
flow::LinkSummary link_summary_from(const v1::LinkCount& message);
void to_message(const flow::StallParty& party, v1::WaitingParty& message);
/// What stands for the stage elsewhere in the graph of a part.
flow::Stage stage_elsewhere(const v1::PartStream& stream, bool is_input);

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
