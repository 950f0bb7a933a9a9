#pragma once
// What the tests of byte links stand on: connections, descriptors of every kind, and an owner's loop that never waits for
// ever.
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/unique_fd.h"
#include "link/byte_link.h"
#include "net/connection.h"

namespace sluice::link {

/// Longer than anything takes that is not broken, on a slow machine with a sanitizer.
inline constexpr std::chrono::seconds kTestPatience{60};

struct PipeEnds {
  UniqueFd read_end;
  UniqueFd write_end;
};
PipeEnds make_pipe();
PipeEnds make_socket_pair();  // either end does for either

/// What a connection runs over.
enum class Wire { tcp, local, tls };
std::string to_text(Wire wire);

/// Both ends of one connection, as the two hosts have them after the handshake.
struct Wired {
  net::Connection::Parts one;
  net::Connection::Parts other;
};
Wired connect(Wire wire);

/// `size` bytes that do not repeat soon.
std::string random_text(std::size_t size, std::uint64_t seed);
/// Writes all of it, and waits for room where that is needed. False: nobody reads.
bool write_all(int descriptor, std::string_view text);
/// Reads to the end of the file, or up to `size` bytes.
std::string read_all(int descriptor, std::size_t size = std::string::npos);
/// Whether `events` happen within the patience.
bool happens(int descriptor, short events);

/// The owner's side: its executor, and the ends that were reported to it.
class Owner final {
 public:
  Owner();
  ~Owner();

  LinkOptions options(bool descriptor_is_ours = true);
  /// Stores the end, and fails the test if there is a second one.
  OnEnd report_to(std::optional<LinkEnd>& end);
  /// Runs what was posted until `done`, or fails the test when the patience is over.
  bool run_until(const std::function<bool()>& done);
  LinkEnd await(const std::optional<LinkEnd>& end);
  /// Runs what was posted so far.
  void run_posted();

 private:
  struct Loop;
  std::unique_ptr<Loop> loop_;
};

std::size_t open_descriptors();

}  // namespace sluice::link
