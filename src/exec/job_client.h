#pragma once
// The owner's end of a program that is started by job (program_jobs.h): asks for jobs, hears what becomes of them.
//
// Threading: belongs to one thread, which need not be that of the launch.
#include <expected>
#include <optional>
#include <utility>
#include <vector>

#include "base/unique_fd.h"
#include "exec/jobs.h"
#include "exec/message_socket.h"
#include "exec/spawn_protocol.h"

namespace sluice::exec {

class JobClient final : public Jobs {
 public:
  /// Nothing is connected.
  JobClient() : socket_(UniqueFd()) {}
  /// One end, and the other, which goes with the launch. Errors: errno.
  static std::expected<std::pair<JobClient, UniqueFd>, int> make();

  std::expected<void, int> start(JobNumber job, std::uint32_t seat, std::vector<std::string> arguments,
                                 const Streams& streams) override;
  void release_input(JobNumber job) override { send(ReleaseJobInput{.job = job}); }
  void signal(JobNumber job, int signal) override { send(SignalJob{.job = job, .signal = signal}); }
  void close() override { socket_ = MessageSocket(UniqueFd()); }

  int descriptor() const override { return socket_.descriptor(); }
  bool is_open() const override { return socket_.is_open(); }
  bool wants_write() const override { return socket_.unsent_bytes() > 0; }
  void flush() override { socket_.flush(); }

  bool receive() override { return socket_.receive(); }
  std::optional<JobEvent> poll_event() override;

 private:
  explicit JobClient(UniqueFd socket) : socket_(std::move(socket), MessageSocket::Sending::queues) {}
  void send(const JobRequest& request) { socket_.send(encode(request)); }

  MessageSocket socket_;
  MessageReader<JobEvent> reader_;
};

}  // namespace sluice::exec
