#pragma once
// Seals and opens the datagrams between nodes: gossip and discovery.
//
//   magic 0x53 | version 1 | secret hint 1 | sender 16 | boot 8 | counter 8 | sealed text | tag 16
//
// The text is sealed with ChaCha20-Poly1305 (RFC 8439); what stands in front of it is not secret, but bound to it (associated
// data). Why not AES-GCM: hosts differ in what their processors help with, and one cluster has one format. Without that help
// AES is slow or leaks its key through the cache, as on a Raspberry Pi 4; ChaCha20 needs none, and needs no tables for a new
// key, of which there is one for each datagram here.
// Every start of every sender has a key of its own: HKDF of the gossip secret, the sender's id and its boot number
// (cluster/boot_number.h). The nonce is the counter, so no pair of key and nonce is ever used twice.
//
// Replays. An opener keeps, for each sender, the newest boot that it has seen and a window of counters. An older boot is
// refused, so a recording from before a restart is worthless. Nothing is kept for a stranger: a sender is remembered only
// after a tag of his was right. Of more senders than there is room for, the one that was silent for longest is forgotten, and
// the greatest boot that was ever forgotten becomes a floor: a sender that is not known must be above it. So forgetting opens
// no hole; at worst a node is not heard by this one until either of them restarts.
// Not prevented here: an opener that has just started knows nobody, and takes an old datagram of a sender's present boot,
// once, until it has heard the sender itself; and a datagram does not name whom it was sent to, so that it can be
// replayed to another node. Membership's incarnation numbers and probe numbers make both harmless.
//
// Threading: each belongs to one thread at a time. No clock, no I/O.
#include <cstddef>
#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "base/id.h"
#include "cluster/boot_number.h"
#include "cluster/cluster_key.h"

namespace sluice::cluster {

inline constexpr std::uint8_t kDatagramMagic = 0x53;
inline constexpr std::uint8_t kDatagramVersion = 1;
inline constexpr std::size_t kDatagramHeaderSize = 35;
inline constexpr std::size_t kDatagramTagSize = 16;
/// With our header, UDP's and IP's it fits into any network's packet of 1,500 bytes, tunnels included.
inline constexpr std::size_t kDatagramPlainMax = 1200;
inline constexpr std::size_t kDatagramMax = kDatagramHeaderSize + kDatagramPlainMax + kDatagramTagSize;

/// More than the largest cluster that was simulated; some 200 bytes each, and only for those that were heard.
inline constexpr std::size_t kSendersMax = 16384;

class DatagramSealer final {
 public:
  DatagramSealer(const GossipSecret& secret, const NodeId& sender, BootNumber boot);
  DatagramSealer(DatagramSealer&&) noexcept;
  DatagramSealer& operator=(DatagramSealer&&) noexcept;
  ~DatagramSealer();

  /// The datagram; valid until the next call. Requires: at most kDatagramPlainMax bytes.
  std::string_view seal(std::string_view plain);
  /// Seals with another secret from now on. The counter goes on.
  void replace_secret(const GossipSecret& secret);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

enum class OpenError {
  not_ours,   // another protocol, or another version of ours
  malformed,  // too short or too long
  own,        // from ourselves: multicast comes back; or from who has our id and started before us
  wrong_key,  // sealed with a secret that we do not have, or changed on the way
  replayed,   // seen before, too late, or from before the sender's last start
};

struct Opened {
  NodeId sender;
  BootNumber boot;
  std::uint64_t counter = 0;
  std::string_view plain;  // valid until the next call
};

class DatagramOpener final {
 public:
  struct Options {
    std::size_t senders_max = kSendersMax;
    /// Our own start. A later one under our id is another process that has it, and is heard.
    BootNumber own_boot{~std::uint64_t{0}};
  };
  /// `own`: the id under which we send; none for a program that only listens. Requires: 1 to kClusterKeysMax secrets.
  DatagramOpener(std::vector<GossipSecret> secrets, std::optional<NodeId> own)
      : DatagramOpener(secrets, own, Options{}) {}
  DatagramOpener(std::vector<GossipSecret> secrets, std::optional<NodeId> own, Options options);
  DatagramOpener(DatagramOpener&&) noexcept;
  DatagramOpener& operator=(DatagramOpener&&) noexcept;
  ~DatagramOpener();

  std::expected<Opened, OpenError> open(std::string_view datagram);
  /// Whose it is, if it is authentic and from before the latest start of its sender that we know, our own included: another
  /// process with the same id, or a recording. Its text is not believed. It costs a key, so ask seldom.
  std::optional<NodeId> sender_if_outdated(std::string_view datagram);
  /// Opens with these from now on. What is known of the senders stays.
  void replace_secrets(std::vector<GossipSecret> secrets);
  std::size_t senders() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::cluster
