#include "node/stage_sampler.h"

#include <unistd.h>

#include <string>
#include <vector>

#include "exec/process_tree.h"

namespace sluice::node {

flow::StageSample sample_processes(pid_t pid) {
  flow::StageSample sample;
  std::vector<pid_t> pids = exec::descendants_of(pid);
  pids.push_back(pid);
  for (pid_t each : pids) {
    exec::ProcessIo io;
    if (!exec::read_process_io(each, io)) continue;
    sample.read += ByteCount{io.read_bytes};
    sample.written += ByteCount{io.write_bytes};
  }
  return sample;
}

namespace {

constexpr std::size_t kThreadsMax = 64;  // of a process that are looked at

struct Waits {
  bool works = false;  // something runs, waits for a disk, or is stopped
  bool reads = false;  // something waits for a pipe to have bytes, or may do so
  bool writes = false;
};

// A thread that polls may wait for any of its descriptors, and of one whose wait can't be seen nothing is known.
void look_at_thread(pid_t thread, Waits& waits) {
  exec::ProcessStat stat;
  if (!exec::read_process_stat(thread, stat)) return;
  if (stat.state != 'S') {
    waits.works = waits.works || (stat.state != 'Z' && stat.state != 'X');
    return;
  }
  std::string channel = exec::read_wait_channel(thread);
  auto holds = [&](const char* name) { return channel.find(name) != std::string::npos; };
  bool any = channel.empty() || holds("poll") || holds("select") || holds("pipe_wait");
  waits.reads = waits.reads || any || holds("pipe_read");
  waits.writes = waits.writes || any || holds("pipe_write");
}

flow::Doing doing_of(const Waits& waits, const std::optional<link::PipeFill>& input,
                     const std::optional<link::PipeFill>& output) {
  if (waits.works) return flow::Doing::busy;
  if (waits.writes && output && output->full) return flow::Doing::held_back;
  if (waits.reads && input && input->used == ByteCount{}) return flow::Doing::idle;
  return flow::Doing::busy;
}

}  // namespace

ProcessLook look_at(pid_t pid) {
  ProcessLook look;
  Waits waits;
  std::vector<pid_t> pids = exec::descendants_of(pid);
  pids.push_back(pid);
  for (pid_t each : pids) {
    exec::ProcessIo io;
    if (exec::read_process_io(each, io)) {
      look.read += ByteCount{io.read_bytes};
      look.written += ByteCount{io.write_bytes};
    }
    for (pid_t thread : exec::threads_of(each, kThreadsMax)) look_at_thread(thread, waits);
  }
  auto input = link::PipeObserver::of_process(pid, STDIN_FILENO).fill();
  auto output = link::PipeObserver::of_process(pid, STDOUT_FILENO).fill();
  if (input) look.input_waiting = input->used;
  if (output) look.output_waiting = output->used;
  look.doing = doing_of(waits, input, output);
  return look;
}

std::optional<double> fill_of(const link::PipeObserver& pipe) {
  auto fill = pipe.fill();
  if (!fill) return std::nullopt;
  return static_cast<double>(fill->used.value) / static_cast<double>(fill->capacity.value);
}

}  // namespace sluice::node
