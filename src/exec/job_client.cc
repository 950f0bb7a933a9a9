#include "exec/job_client.h"

#include <sys/socket.h>

#include <cerrno>

#include "base/require.h"

namespace sluice::exec {

std::expected<std::pair<JobClient, UniqueFd>, int> JobClient::make() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return std::unexpected(errno);
  return std::pair(JobClient(UniqueFd(ends[0])), UniqueFd(ends[1]));
}

std::expected<void, int> JobClient::start(JobNumber job, std::uint32_t seat, std::vector<std::string> arguments,
                                          const Streams& streams) {
  REQUIRE(streams.input >= 0 && streams.output >= 0);
  StartJob request{.job = job,
                   .seat = seat,
                   .arguments = std::move(arguments),
                   .error_passed = streams.error >= 0,
                   .guarded_input = streams.input_guard >= 0};
  std::vector<int> descriptors = {streams.input, streams.output};
  for (int stream : {streams.error, streams.input_guard})
    if (stream >= 0) descriptors.push_back(stream);
  return socket_.send_with(encode(JobRequest(std::move(request))), descriptors);
}

std::optional<JobEvent> JobClient::poll_event() {
  auto message = socket_.next(reader_);
  REQUIRE(message.has_value());  // both ends are one program
  return *std::move(message);
}

}  // namespace sluice::exec
