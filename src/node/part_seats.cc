#include "node/part_seats.h"

#include <utility>

#include "base/pipe.h"
#include "sluice/v1/host.pb.h"

namespace sluice::node {

std::expected<PartStreams, int> PartSeats::connect(exec::Program program, exec::Launch& launch) {
  PartStreams streams;
  auto socket = exec::JobClient::make();
  if (!socket) return std::unexpected(socket.error());
  jobs_.emplace(std::move(socket->first));
  streams.passed.push_back(std::move(socket->second));
  program.by_job = true;
  if (prepare_.stages(0).worker()) program.variables.emplace_back(flow::kWorkerVariable);
  program.input = program.output = exec::Stream::inherited;
  if (program.error != exec::Stream::as_stdout) {
    auto pipe = make_pipe();
    if (!pipe) return std::unexpected(pipe.error());
    error_ = std::move(pipe->write_end);
    if (prepare_.has_keep()) {
      streams.passed.push_back(std::move(pipe->read_end));
      launch.captures.push_back({.program = 0, .kind = exec::OutputKind::error});
    } else {
      streams.errors.push_back({.read_end = std::move(pipe->read_end), .stage = prepare_.stages(0).index()});
    }
  }
  launch.programs.push_back(std::move(program));
  return streams;
}

std::expected<void, int> PartSeats::start(PartLinks& links) {
  if (!jobs_) return {};
  std::vector<HostedSeatEnds> ends;
  for (std::size_t seat = 0; seat < links.seat_count(); ++seat) {
    auto requests = make_pipe(), replies = make_pipe();
    if (!requests || !replies) return std::unexpected(requests ? replies.error() : requests.error());
    ends.push_back({.requests = std::move(requests->read_end), .replies = std::move(replies->write_end)});
    links.start_seat(seat, std::move(replies->read_end), std::move(requests->write_end));
  }
  auto log = [&log = surroundings_.log(), flow = prepare_.flow_id()](std::string trouble) {
    if (!trouble.empty()) log.error("a seat was closed", {{"flow", flow}, {"reason", trouble}});
  };
  auto host = SeatHost::start(std::make_unique<exec::JobClient>(*std::exchange(jobs_, std::nullopt)), std::move(ends),
                              std::move(error_), std::move(log));
  if (!host) return std::unexpected(host.error());
  host_.emplace(*std::move(host));
  return {};
}

}  // namespace sluice::node
