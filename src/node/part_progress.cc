#include "node/part_progress.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "sluice/v1/host.pb.h"

namespace sluice::node {
namespace {

std::uint64_t microseconds(Duration duration) {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(duration).count());
}

void add(const flow::Activity& activity, v1::StageMoved& stage) {
  flow::Activity sum = activity;
  sum += {.busy = std::chrono::microseconds(stage.activity().busy_us()),
          .idle = std::chrono::microseconds(stage.activity().idle_us()),
          .held_back = std::chrono::microseconds(stage.activity().held_back_us())};
  to_message(sum, *stage.mutable_activity());
  stage.set_estimated(true);
}

}  // namespace

void to_message(const flow::Activity& activity, v1::Activity& message) {
  message.set_busy_us(microseconds(activity.busy));
  message.set_idle_us(microseconds(activity.idle));
  message.set_held_back_us(microseconds(activity.held_back));
}

v1::StageMoved& stage_in(v1::Moved& moved, std::uint32_t index) {
  for (v1::StageMoved& stage : *moved.mutable_stages())
    if (stage.stage() == index) return stage;
  v1::StageMoved& stage = *moved.add_stages();
  stage.set_stage(index);
  return stage;
}

void PartProgress::on_started(const exec::Started& started, std::vector<link::PipeObserver> pipes,
                              const std::vector<ProgramPlace>& places) {
  started_at_ = Clock::now();
  programs_.clear();
  for (std::size_t i = 0; i < started.pids.size() && i < places.size(); ++i)
    programs_.push_back({.pid = started.pids[i], .place = places[i], .watched = Watched(started_at_)});
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
    stage.set_duration_us(microseconds(sample.duration));
    auto full = fill_of(program.output);
    stage.set_output_known(full.has_value());
    stage.set_output_fill(full.value_or(0));
  }
}

void PartProgress::look(Watched& watched, pid_t pid, TimePoint now) {
  ProcessLook last = watched.last;
  watched.last = look_at(pid);
  watched.last.read = std::max(watched.last.read, last.read);  // a child that has gone may not have been counted yet
  watched.last.written = std::max(watched.last.written, last.written);
  watched.activity.on_look(watched.last.doing, now);
}

void PartProgress::look(TimePoint now) {
  for (Program& program : programs_)
    if (program.pid > 0 && !program.end) look(program.watched, program.pid, now);
}

void PartProgress::report(const Program& program, v1::StageMoved& stage) const {
  const ProcessLook& last = program.watched.last;
  flow::StageSample end = program.end.value_or(flow::StageSample());
  add(program.watched.activity.activity(), stage);
  stage.set_running(stage.running() || !program.end);
  stage.set_io_read_bytes(stage.io_read_bytes() + std::max(last.read, end.read).value);
  stage.set_io_write_bytes(stage.io_write_bytes() + std::max(last.written, end.written).value);
  if (last.input_waiting && !program.end)
    stage.set_input_pipe_bytes(stage.input_pipe_bytes() + last.input_waiting->value);
  if (last.output_waiting && !program.end)
    stage.set_output_pipe_bytes(stage.output_pipe_bytes() + last.output_waiting->value);
  v1::WorkerMoved& worker = *stage.add_workers();
  worker.set_worker(program.place.worker);
  worker.set_pid(program.pid);
  worker.set_running(!program.end);
  to_message(program.watched.activity.activity(), *worker.mutable_activity());
}

void PartProgress::report(const v1::Prepare& prepare, v1::Moved& moved) const {
  for (const Program& program : programs_)
    if (program.pid > 0)
      report(program, stage_in(moved, prepare.stages(static_cast<int>(program.place.stage)).index()));
}

}  // namespace sluice::node
