#include "node/cluster_request.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "base/null_device.h"
#include "node/flow_messages.h"
#include "node/host_name.h"
#include "sluice/v1/flows.pb.h"

namespace sluice::node {
namespace {

using Kind = flow::Whereabouts::Kind;

constexpr std::uint32_t kProgressMs = 500;  // it is shown once a second

void add_stage(const ClusterRunRequest& request, std::size_t index, v1::StageRequest& stage) {
  to_message(request.graph.stages[index], index, stage);
  if (index >= request.files.stages.size()) return;
  for (const std::string& path : request.files.stages[index].paths) stage.add_ships(path);
  for (const std::string& problem : request.files.stages[index].problems) stage.add_ship_problems(problem);
}

std::uint64_t milliseconds(Duration duration) {
  return static_cast<std::uint64_t>(std::chrono::ceil<std::chrono::milliseconds>(duration).count());
}

}  // namespace

v1::RunStart to_message(const ClusterRunRequest& request, bool shows_progress) {
  v1::RunStart start;
  start.set_name(request.run.name);
  start.set_text(request.text);
  for (std::size_t i = 0; i < request.graph.stages.size(); ++i) add_stage(request, i, *start.add_stages());
  for (const flow::Link& link : request.graph.links) to_message(link, *start.add_links());
  for (const OutgoingFile& file : request.files.files) {
    v1::ShippedFile& message = *start.add_files();
    message.set_path(file.path);
    message.set_sha256(file.content.as_bytes());
    message.set_size(file.size);
    message.set_executable(file.executable);
  }
  for (const auto& [name, value] : request.stage_environment) (*start.mutable_environment())[name] = value;
  start.set_shell(request.shell);
  start.set_inner_pipefail(request.inner_pipefail);
  start.set_pipefail(std::string(pipefail_name(request.run.pipefail)));
  start.set_grace_ms(milliseconds(request.run.grace));
  if (request.run.timeout) start.set_timeout_ms(std::max<std::uint64_t>(1, milliseconds(*request.run.timeout)));
  start.set_stall_timeout_ms(
      request.run.stall_timeout ? std::max<std::uint64_t>(1, milliseconds(*request.run.stall_timeout)) : 0);
  start.set_keep_stragglers(request.run.keep);
  start.set_background(request.background);
  start.set_keep_bytes_max(request.keep_bytes_max);
  start.set_dry_run(request.dry_run);
  start.set_account_io(request.run.json_summary);
  start.set_client_name(host_name());
  // A stage on a node has /dev/null too then, and no link is made. A plan is that of any stdin and stdout.
  start.set_no_input(!request.dry_run && is_null_device(STDIN_FILENO));
  start.set_no_output(!request.dry_run && is_null_device(STDOUT_FILENO) && !stands_for_closed(STDOUT_FILENO));
  if (shows_progress) start.set_progress_ms(kProgressMs);
  v1::RecordRules& rules = *start.mutable_records();
  const RecordSettings& records = request.run.records;
  rules.set_record_bytes_max(records.record_max);
  if (records.rate) rules.set_rate(*records.rate);
  rules.set_retries(records.retries);
  rules.set_losses_allowed(request.losses_allowed);
  rules.set_has_dead_letters(!records.dead_letters.empty());
  rules.set_files_here(!records.dead_letters.empty() || !records.job_log.empty());
  start.set_marks(request.marks == OutputMarks::always  ? v1::RunStart::MARKS_ALWAYS
                  : request.marks == OutputMarks::never ? v1::RunStart::MARKS_NEVER
                                                        : v1::RunStart::MARKS_UNSPECIFIED);
  return start;
}

// Nothing that is inherited closes on exec: exec/entry_state.h put it there.
bool stands_for_closed(int stream) {
  int flags = ::fcntl(stream, F_GETFD);
  return flags >= 0 && (flags & FD_CLOEXEC) != 0 && is_null_device(stream);
}

bool needs_cluster(const flow::FlowGraph& graph, bool node_named) {
  return std::ranges::any_of(graph.stages, [&](const flow::Stage& stage) {
    Kind kind = stage.words.where.kind;
    bool spreads = node_named && stage.words.workers && kind == Kind::beside_neighbour;
    return spreads || !stage.words.role.empty() || kind == Kind::every_node || kind == Kind::node ||
           kind == Kind::label;
  });
}

std::size_t count_client_parts(const flow::FlowGraph& graph, bool files_here) {
  std::size_t parts = 0;
  std::vector<bool> here;
  for (std::size_t i = 0; i < graph.stages.size(); ++i) {
    const flow::StageWords& words = graph.stages[i].words;
    Kind kind = words.where.kind;
    auto left = flow::left_neighbour(graph, i);
    bool beside = kind == Kind::beside_neighbour || (kind == Kind::label && words.workers);
    bool left_here = !left || here[*left] || graph.stages[*left].words.where.kind == Kind::every_node;
    here.push_back(kind == Kind::here || (beside && left_here) ||
                   (files_here && (words.map || words.each || words.worker)));
    // Links may join it to others that come before it; of those one is enough.
    bool continues =
        std::ranges::any_of(graph.links, [&](const flow::Link& link) { return link.to == i && here[link.from]; });
    if (here.back() && !continues) ++parts;
  }
  return parts;
}

}  // namespace sluice::node
