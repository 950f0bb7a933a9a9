#pragma once
// The certificates that must not be believed any more, by serial number: a set that only grows by what an authority signed,
// and from which an entry goes when no certificate with its number can be alive.
//
// Nodes compare digests and send each other what differs; the order in which entries come, and from whom, does not matter.
// Two nodes whose clocks differ disagree for that long about an entry at the end of its life, which costs them some datagrams.
// Threading: belongs to one thread, but for `contains`, which every thread may ask: handshakes do.
#include <cstddef>
#include <cstdint>
#include <expected>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cluster/certificate_authority.h"
#include "cluster/private_file.h"

namespace sluice::cluster {

/// An encoded entry: serial 16, not_after 8, signature 64.
inline constexpr std::size_t kRevocationSize = 88;
/// A chunk has one byte of version in front of its entries.
inline constexpr std::size_t kRevocationChunkMin = 1 + kRevocationSize;
inline constexpr std::size_t kRevocationsMax = 4096;

enum class RevocationError {
  forged,  // no authority that we trust has signed it
  full,    // kRevocationsMax certificates are revoked already
};

enum class RevocationAdded {
  added,    // the list has changed: save it, and tell the others
  known,    // it was there
  expired,  // what it revokes can't be alive any more
};

class RevocationList final {
 public:
  struct Options {
    std::size_t entries_max = kRevocationsMax;
  };
  using OnRevoked = std::function<void(const net::CertificateSerial&)>;

  explicit RevocationList(TrustedAuthorities trusted) : RevocationList(std::move(trusted), Options{}) {}
  RevocationList(TrustedAuthorities trusted, Options options);
  ~RevocationList();
  RevocationList(const RevocationList&) = delete;
  RevocationList& operator=(const RevocationList&) = delete;

  std::expected<RevocationAdded, RevocationError> add(const Revocation& revocation, WallTime now);
  /// Drops what has expired.
  void on_time(WallTime now);
  /// Any thread.
  bool contains(const net::CertificateSerial& serial) const;

  /// Called for each serial number that becomes revoked: its connections must be closed. For the life of this list.
  void subscribe(OnRevoked on_revoked);

  /// Equal for equal sets, whatever their order and whoever has signed: of serial numbers and times alone.
  std::uint64_t digest() const { return digest_; }
  std::size_t size() const { return entries_.size(); }
  /// In the order of the serial numbers.
  std::vector<Revocation> entries() const;

  /// The authorities have changed: entries that none of these has signed are kept, for they are true all the same; only
  /// what comes from now on is held against them.
  void replace_trusted(TrustedAuthorities trusted) { trusted_ = std::move(trusted); }
  /// Signs every entry with the current key. A node that holds the key does so at start, while the key before is still
  /// trusted: afterwards nobody could verify what that has signed.
  void sign_again(const CertificateAuthority& authority);

 private:
  class Serials;
  void insert(const Revocation& revocation);

  TrustedAuthorities trusted_;
  const Options options_;
  std::map<net::CertificateSerial, Revocation> entries_;
  std::unique_ptr<Serials> serials_;  // the keys of `entries_`, for other threads
  std::uint64_t digest_ = 0;
  std::vector<OnRevoked> on_revoked_;
};

/// Pieces of at most `chunk_max` bytes, each of which can be decoded alone. Requires: at least kRevocationChunkMin.
std::vector<std::string> encode_revocations(std::span<const Revocation> revocations, std::size_t chunk_max);
/// Signatures are not looked at. Errors: a sentence; another version, or half an entry, or too many.
std::expected<std::vector<Revocation>, std::string> decode_revocations(std::string_view chunk);

/// What became of the entries of a file.
struct RevocationsLoaded {
  std::size_t kept = 0;
  std::size_t dropped = 0;  // expired, or signed by nobody whom we trust
};

/// Adds what the file holds. A file that is missing holds nothing. Errors: malformed, system; the list is as it was.
std::expected<RevocationsLoaded, FileError> load_revocations(const std::string& path, RevocationList& list,
                                                             WallTime now);
/// Errors: system.
std::expected<void, FileError> save_revocations(const std::string& path, const RevocationList& list);

}  // namespace sluice::cluster
