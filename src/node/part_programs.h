#pragma once
// The programs of one part of a flow, once its spawner was told to start them: what happens to them is passed on, what they
// say on stderr too, and they are signalled and ended.
// Threading: belongs to the control loop.
#include <cstddef>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "exec/spawn_protocol.h"
#include "node/condition.h"
#include "node/part_launch.h"
#include "node/part_owner.h"
#include "node/part_progress.h"
#include "node/part_surroundings.h"

namespace sluice::v1 {
class Moved;
class Prepare;
class Signal;
class StageText;
}  // namespace sluice::v1

namespace sluice::node {

class PartPrograms final {
 public:
  /// `prepare` outlives it.
  PartPrograms(PartSurroundings& surroundings, PartOwner& owner, const v1::Prepare& prepare);
  ~PartPrograms();

  /// The spawner of `use` was told to start `programs`, whose stderr `errors` reads. `places`: of each; if each stage
  /// has one, progress is told. `output`: the pipe behind the last of them, if it is known.
  void watch(std::unique_ptr<SpawnerUse> use, std::vector<exec::Program> programs, std::vector<ProgramPlace> places,
             std::vector<PartStreams::ErrorEnd> errors, link::PipeObserver output);
  /// Once they have started.
  void read_errors();
  /// No stderr is read that is not read yet.
  void drop_errors() { errors_.clear(); }

  /// How they do.
  void fill(v1::Moved& moved) const {
    if (one_a_stage()) progress_.fill(prepare_, moved);
  }
  /// Looks at what they do now.
  void look() {
    if (spawner_) progress_.look(Clock::now());
  }
  /// What the looks have told.
  void report(v1::Moved& moved) const { progress_.report(prepare_, moved); }

  void signal(const v1::Signal& signal);
  void survey();
  void kill();
  /// What they leave behind may go on.
  void detach();
  /// The stdin of that one was delivered to its end: it may close.
  void release_input(exec::ProgramIndex program);
  /// They go on under their spawner.
  void let_go();

  /// Its spawner has not said that no process is left.
  bool has_children() const { return !over_; }
  /// Some run, or their spawner has not said yet that none does.
  bool running() const { return spawner_ != nullptr; }
  /// None was started, or none is left, and everything they said was read.
  bool over() const { return over_ && !spawner_ && open_errors_ == 0; }

 private:
  struct SpawnerWatch;
  struct ErrorReader;

  net::Awaitable<void> read_spawner();
  net::Awaitable<void> read_error(UniqueFd from, std::uint32_t stage);
  net::Awaitable<std::size_t> read_some(ErrorReader& reader);
  net::Awaitable<void> flush_all();
  void on_spawner_lost(const std::string& why);
  void handle(const exec::Started& started);
  void handle(const exec::LaunchFailed& failure);
  void handle(const exec::Exited& exited);
  void handle(const exec::Childless& childless);
  void handle(const exec::Survey& survey);
  bool one_a_stage() const;
  const v1::StageText& text_of(exec::ProgramIndex program) const;
  void wake();
  void flush();

  PartSurroundings& surroundings_;
  PartOwner& owner_;
  const v1::Prepare& prepare_;
  std::unique_ptr<SpawnerUse> spawner_;
  std::unique_ptr<SpawnerWatch> watch_;
  std::vector<exec::Program> programs_;
  std::vector<ProgramPlace> places_;           // of each program
  std::vector<PartStreams::ErrorEnd> errors_;  // not read yet
  std::size_t open_errors_ = 0;
  link::PipeObserver output_;  // behind the last program
  PartProgress progress_;
  bool over_ = true;
  std::set<ErrorReader*> error_readers_;
  bool detached_ = false;  // what they leave running is spared
  bool letting_go_ = false;
};

}  // namespace sluice::node
