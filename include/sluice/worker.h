#pragma once
// A worker of a Sluice flow: a program that is given records, writes records for them, and says which are done.
//
//   #include <sluice/worker.h>
//
//   int main() {
//     sluice::Worker worker;
//     worker.on_data([](std::string_view record, sluice::Input input) {
//       input.write("got " + std::string(record));
//       input.done();
//     });
//     return worker.run();
//   }
//
// A flow file starts it: `got: { worker: ./got, workers: 4 }`. What was written for a record goes on when the record is
// done; if the worker dies before, the record runs again elsewhere and nothing is repeated.
//
// It needs C++17 and POSIX, and nothing else: compile clients/cpp/worker.cc with your program (and -pthread).
// A program that nobody starts for a flow, and that joins flows by itself: <sluice/joined_worker.h>.
// Threading: run() and source() are called once, and call the handlers on their thread. Everything else may be called on
// any thread.
// Errors: what a caller can't mend, such as a stage that is gone, ends run() with a status other than 0 and a line on
// stderr. A handler that throws a std::exception has failed its record, with what(). write() throws std::length_error
// if the output is longer than a record may be (`--max-record`).
// Sending: what the thread of run() has written and settled is gathered. It is sent when all records that have come
// were handed over, and before that when a handler returns and the last sending is 20 ms ago: nothing that is settled
// waits for longer than that, or until the handler that is under way returns. What another thread settles is sent at
// once.
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace sluice {

class Worker;
struct JoinOptions;

/// A record that is in the worker's hands, until done() or fail(). A copy stands for the same record. It must not
/// outlive the worker's run(). Once its stage is over, what is said of it is not heard. It does not know what its copies
/// have said. The stage does: it cuts a worker off, as if it had died, which settles a record twice, or writes for one
/// after the word that it is settled has gone.
class Input {
 public:
  /// Its place in the input of the stage, from 1; the same when it runs again.
  std::uint64_t id() const { return id_; }
  /// How often it was given to a worker, this time included.
  std::uint32_t attempt() const { return attempt_; }

  /// Writes a record that belongs to this one. It is copied. Waits while the stage takes none.
  void write(std::string_view record) const;
  /// It is done, and all that was written for it may go on. Call it or fail(), once.
  void done() const;
  /// It could not be done; what was written for it is dropped. `reason` is for people, at most 4,096 bytes.
  void fail(std::string_view reason) const;

 private:
  friend class Worker;
  Input(Worker* worker, std::uint64_t id, std::uint32_t attempt, std::uint32_t stage)
      : worker_(worker), id_(id), attempt_(attempt), stage_(stage) {}

  Worker* worker_;
  std::uint64_t id_;
  std::uint32_t attempt_;
  std::uint32_t stage_;  // of those that the worker has served
};

class Worker {
 public:
  Worker();
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  /// How many records are worked on at a time: the handler is called while fewer are neither done nor failed. 1 unless
  /// said otherwise; `concurrency` in the flow file goes first. Once it runs, a call changes it.
  void concurrency(std::uint32_t records);

  /// Called once, before the first record. Of a worker that has joined: for each stage that it serves, the moment to
  /// forget what was kept of the one before.
  void on_start(std::function<void()> handler);
  /// Called for each record. `record` is valid until it returns.
  void on_data(std::function<void(std::string_view record, Input input)> handler);
  /// Called when nothing more can be handed over now, and records are in hand: the moment to commit, and to settle, what
  /// was gathered from several.
  void on_idle(std::function<void()> handler);
  /// Called once, when the input has ended and every record is settled. It may write().
  void on_end(std::function<void()> handler);

  /// Works until the input has ended. Returns what main() is to return.
  int run();

  /// For a program that takes no input: calls `next` until it returns false. What it write()s goes on. A record that is
  /// written is on its way within 20 ms, whatever `next` does then.
  int source(std::function<bool(Worker&)> next);

  /// Writes a record that belongs to none of the input. It goes on at once, and is not taken back if the worker dies.
  void write(std::string_view record);
  /// Sends what was written. run() and source() do that by themselves.
  void flush();

  /// No record is handed to the handler until resume(), and the stage gives none.
  void pause();
  void resume();
  /// Takes no more records: run() returns when those that it has are settled.
  void end();

  /// Before run() or source(): these then serve flows under the name of a role, one after the other, in place of the
  /// stage that has started this program. Needs <sluice/joined_worker.h>, which has the options, and its library.
  void join(JoinOptions options);

  /// The number of this worker in its stage, from 1; known once on_data() is called.
  std::uint32_t number() const;

 private:
  friend class Input;
  friend class JoinedStages;
  /// Where stages come from, if not from who has started this program.
  class Stages {
   public:
    virtual ~Stages() = default;
    /// Calls `serve` with the socket of one stage after the other; returns what run() does.
    virtual int run(const std::function<int(int socket)>& serve) = 0;
    /// No more than the one that there is. Any thread.
    virtual void end() = 0;
    /// Nobody is at the other end of that one any more.
    virtual bool is_cut() const = 0;
    virtual void say(const std::string& message) = 0;
  };
  void take_stages(std::unique_ptr<Stages> stages);

  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice
