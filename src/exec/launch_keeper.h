#pragma once
// The spawner's side of a kept launch: its folder, its captured streams, its records, and the socket for a new owner.
//
//   lock           locked while the spawner lives: how a reader tells a running launch from a lost one
//   spawner.sock   where another owner attaches (kept_socket.h)
//   state          the record at the start (kept_record.h), written once and whole
//   end            the record at the end; until then `end.reserved` holds its room on the disk
//   1.stdout.*     captured streams (bounded_output.h)
//
// What the launch's programs write is taken until they have ended; what the owner writes, to its end or the owner's.
//
// The end record is synced, the file and the folder, before anybody is told of the end.
// Threading: belongs to the spawner's one thread. Nothing here waits but for the disk.
#include <poll.h>
#include <sys/types.h>

#include <cstdint>
#include <deque>
#include <expected>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/time.h"
#include "base/unique_fd.h"
#include "exec/bounded_output.h"
#include "exec/kept_record.h"
#include "exec/spawn_protocol.h"

namespace sluice::exec {

class LaunchKeeper final {
 public:
  /// See LaunchFailed.
  struct Failure {
    int error = 0;
    const char* action = "";
  };

  /// Takes the folder: locks it, reserves room for the end record, and listens.
  static std::expected<std::unique_ptr<LaunchKeeper>, Failure> open(const Launch& launch, std::string cgroup);
  ~LaunchKeeper();
  LaunchKeeper(const LaunchKeeper&) = delete;
  LaunchKeeper& operator=(const LaunchKeeper&) = delete;

  bool survives_owner() const { return keep_.survives_owner; }

  /// The write end of a pipe that is captured from now on. Errors: errno.
  std::expected<UniqueFd, int> capture(OutputName name);
  /// Likewise the read end of one that others write to.
  void capture_from(OutputName name, UniqueFd read_end);
  /// Of those, some may still be written to.
  bool captures_others() const;
  /// The programs run: writes the state.
  std::expected<void, Failure> on_started(std::span<const std::int32_t> pids);
  void on_exited(const Exited& exited);
  void on_watch(const WatchOutput& watch);

  /// What to poll for: the listener, then each captured stream.
  void add_polled(std::vector<pollfd>& polled) const;
  /// Reads what has arrived; `polled` is what `add_polled` added, after poll(2).
  void on_polled(std::span<const pollfd> polled, TimePoint now);
  /// News for the owner.
  std::optional<SpawnerMessage> poll_message();

  /// The next owner that attaches; an empty descriptor if there is none.
  UniqueFd accept();
  /// What an owner that attaches is told first.
  std::vector<SpawnerMessage> story_so_far() const;

  /// Nothing runs any more: takes what is left in the pipes and writes the end record. Errors: errno; ENOENT if the
  /// folder was removed, so that nobody can be told any more. After any other it may be tried again.
  std::expected<void, int> write_end(KeptEnd end, TimePoint now);
  /// Nobody can connect from now on; those who have already can still be accepted.
  void hide();

 private:
  struct Captured {
    OutputName name;
    UniqueFd pipe;  // closed at the end of the stream
    bool of_others = false;
    BoundedOutput output;
    bool told_dropping = false;
    std::optional<std::uint64_t> watched_beyond;
  };

  LaunchKeeper(Keep keep, std::string cgroup, UniqueFd directory)
      : keep_(std::move(keep)), cgroup_(std::move(cgroup)), directory_(std::move(directory)) {}
  std::expected<void, Failure> prepare(const Launch& launch);
  void add(OutputName name, UniqueFd read_end, bool of_others);
  void pump(Captured& captured, TimePoint now);
  void tell(Captured& captured);
  std::expected<void, int> write_file(const char* name, const std::string& bytes) const;
  std::expected<void, int> write_record(const std::string& bytes) const;

  Keep keep_;
  std::string cgroup_;
  UniqueFd directory_;
  UniqueFd lock_;
  UniqueFd listener_;
  UniqueFd end_file_;  // with its room reserved, where the file system can
  KeptRecord record_;
  std::vector<std::unique_ptr<Captured>> captured_;
  std::deque<SpawnerMessage> messages_;
  std::unique_ptr<char[]> buffer_;
};

/// "2.stdout", "2.stderr": programs are counted from 1, as people count stages.
std::string output_file_name(OutputName name);

/// Names of the files in the folder of a kept launch.
inline constexpr char kLockFile[] = "lock";
inline constexpr char kStateFile[] = "state";
inline constexpr char kEndFile[] = "end";

}  // namespace sluice::exec
