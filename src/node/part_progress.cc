#include "node/part_progress.h"

#include <chrono>
#include <utility>

#include "node/stage_sampler.h"
#include "sluice/v1/host.pb.h"

namespace sluice::node {

void PartProgress::on_started(const exec::Started& started, std::vector<link::PipeObserver> pipes) {
  started_at_ = Clock::now();
  programs_.clear();
  for (std::int32_t pid : started.pids) programs_.push_back({.pid = pid});
  for (std::size_t i = 0; i < pipes.size() && i < programs_.size(); ++i) programs_[i].output = std::move(pipes[i]);
}

void PartProgress::on_exited(const exec::Exited& exited) {
  if (exited.program >= programs_.size()) return;
  programs_[exited.program].end = flow::StageSample{.running = false,
                                                    .read = {exited.io_read_bytes},
                                                    .written = {exited.io_write_bytes},
                                                    .duration = Clock::now() - started_at_};
}

void PartProgress::fill(const v1::Prepare& prepare, v1::Moved& moved) const {
  for (std::size_t i = 0; i < programs_.size(); ++i) {
    const Program& program = programs_[i];
    flow::StageSample sample = program.end ? *program.end : sample_processes(program.pid);
    v1::StageMoved& stage = *moved.add_stages();
    stage.set_stage(prepare.stages(static_cast<int>(i)).index());
    stage.set_running(sample.running);
    stage.set_io_read_bytes(sample.read.value);
    stage.set_io_write_bytes(sample.written.value);
    auto duration = std::chrono::duration_cast<std::chrono::microseconds>(sample.duration).count();
    stage.set_duration_us(static_cast<std::uint64_t>(duration));
    auto full = fill_of(program.output);
    stage.set_output_known(full.has_value());
    stage.set_output_fill(full.value_or(0));
  }
}

}  // namespace sluice::node
