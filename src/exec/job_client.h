#pragma once
// The owner's end of a program that is started by job (program_jobs.h): asks for jobs, hears what becomes of them.
//
// It never waits: what the kernel does not take at once goes with `flush`, when `wants_write` says so.
// Threading: belongs to one thread, which need not be that of the launch.
#include <expected>
#include <optional>
#include <utility>
#include <vector>

#include "base/unique_fd.h"
#include "exec/message_socket.h"
#include "exec/spawn_protocol.h"

namespace sluice::exec {

class JobClient final {
 public:
  /// Nothing is connected.
  JobClient() : socket_(UniqueFd()) {}
  /// One end, and the other, which goes with the launch. Errors: errno.
  static std::expected<std::pair<JobClient, UniqueFd>, int> make();

  /// Descriptors of the caller's, who may close them afterwards.
  struct Streams {
    int input = -1, output = -1;
    int error = -1;        // -1: where the launch has it
    int input_guard = -1;  // -1: none
  };
  /// Errors: errno; the streams could not be passed, the job will not run, and no other can: close it.
  std::expected<void, int> start(JobNumber job, std::uint32_t seat, std::vector<std::string> arguments,
                                 const Streams& streams);
  void release_input(JobNumber job) { send(ReleaseJobInput{.job = job}); }
  void signal(JobNumber job, int signal) { send(SignalJob{.job = job, .signal = signal}); }
  /// The program is wanted no more: it has ended when its last job has.
  void close() { socket_ = MessageSocket(UniqueFd()); }

  int descriptor() const { return socket_.descriptor(); }
  bool is_open() const { return socket_.is_open(); }
  bool wants_write() const { return socket_.unsent_bytes() > 0; }
  void flush() { socket_.flush(); }

  /// Takes what has arrived. False: the spawner is gone, or takes no more jobs; what it said before is still polled.
  bool receive() { return socket_.receive(); }
  std::optional<JobEvent> poll_event();

 private:
  explicit JobClient(UniqueFd socket) : socket_(std::move(socket), MessageSocket::Sending::queues) {}
  void send(const JobRequest& request) { socket_.send(encode(request)); }

  MessageSocket socket_;
  MessageReader<JobEvent> reader_;
};

}  // namespace sluice::exec
