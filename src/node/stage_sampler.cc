#include "node/stage_sampler.h"

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

std::optional<double> fill_of(const link::PipeObserver& pipe) {
  auto fill = pipe.fill();
  if (!fill) return std::nullopt;
  return static_cast<double>(fill->used.value) / static_cast<double>(fill->capacity.value);
}

}  // namespace sluice::node
