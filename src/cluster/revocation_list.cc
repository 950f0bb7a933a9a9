#include "cluster/revocation_list.h"

#include <fmt/format.h>
#include <openssl/sha.h>

#include <algorithm>
#include <mutex>
#include <set>

#include "base/require.h"
#include "base/wire.h"

namespace sluice::cluster {
namespace {

constexpr std::uint8_t kVersion = 1;
constexpr std::string_view kFileMagic = "SLUICE REVOKED\n";
constexpr std::size_t kFileMax = kFileMagic.size() + 1 + kRevocationsMax * kRevocationSize;
// Seconds of the calendar beyond which a certificate has no date, the year 9999: what is decoded can be counted with.
constexpr std::uint64_t kTimeMax = 253'402'300'799;

static_assert(kRevocationSize == kIdSize + sizeof(std::uint64_t) + sizeof(Signature));

std::uint64_t seconds_of(WallTime time) { return static_cast<std::uint64_t>(time.time_since_epoch().count()); }

// Spread evenly, so that a sum of them tells two sets apart.
std::uint64_t digest_of(const Revocation& revocation) {
  WireWriter writer;
  writer.put_bytes(revocation.serial.bytes);
  writer.put(seconds_of(revocation.not_after));
  std::uint8_t digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const std::uint8_t*>(writer.bytes().data()), writer.size(), digest);
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < sizeof value; ++i) value = value << 8 | digest[i];
  return value;
}

void encode(const Revocation& revocation, WireWriter& writer) {
  writer.put_bytes(revocation.serial.bytes);
  writer.put(seconds_of(revocation.not_after));
  writer.put_bytes(revocation.signature);
}

std::string encode_all(std::span<const Revocation> revocations) {
  WireWriter writer;
  writer.put(kVersion);
  for (const Revocation& revocation : revocations) encode(revocation, writer);
  return writer.take();
}

}  // namespace

// A lock in place of a message to the owner: a handshake on another loop can't wait for an answer, and holds it for one
// look-up.
class RevocationList::Serials final {
 public:
  void insert(const net::CertificateSerial& serial) {
    std::lock_guard lock(mutex_);
    serials_.insert(serial);
  }
  void erase(const net::CertificateSerial& serial) {
    std::lock_guard lock(mutex_);
    serials_.erase(serial);
  }
  bool contains(const net::CertificateSerial& serial) const {
    std::lock_guard lock(mutex_);
    return serials_.contains(serial);
  }

 private:
  mutable std::mutex mutex_;
  std::set<net::CertificateSerial> serials_;
};

RevocationList::RevocationList(TrustedAuthorities trusted, Options options)
    : trusted_(std::move(trusted)), options_(options), serials_(std::make_unique<Serials>()) {
  REQUIRE(options_.entries_max <= kRevocationsMax);  // or the file could not be read again
}

RevocationList::~RevocationList() = default;

std::expected<RevocationAdded, RevocationError> RevocationList::add(const Revocation& revocation, WallTime now) {
  if (revocation.not_after <= now) return RevocationAdded::expired;
  auto known = entries_.find(revocation.serial);
  if (known != entries_.end() && known->second.not_after >= revocation.not_after) return RevocationAdded::known;
  // Verified last: it costs a hundred times what the rest does.
  if (!trusted_.verify_revocation(revocation)) return std::unexpected(RevocationError::forged);
  if (known == entries_.end() && entries_.size() >= options_.entries_max) on_time(now);
  if (known == entries_.end() && entries_.size() >= options_.entries_max) return std::unexpected(RevocationError::full);
  insert(revocation);
  return RevocationAdded::added;
}

void RevocationList::insert(const Revocation& revocation) {
  auto [entry, is_new] = entries_.try_emplace(revocation.serial, revocation);
  if (!is_new) {
    digest_ -= digest_of(entry->second);
    entry->second = revocation;
  }
  digest_ += digest_of(revocation);
  if (!is_new) return;
  const net::CertificateSerial serial = revocation.serial;
  serials_->insert(serial);
  for (std::size_t i = 0; i < on_revoked_.size(); ++i) on_revoked_[i](serial);
}

void RevocationList::on_time(WallTime now) {
  for (auto entry = entries_.begin(); entry != entries_.end();) {
    if (entry->second.not_after > now) {
      ++entry;
      continue;
    }
    digest_ -= digest_of(entry->second);
    serials_->erase(entry->first);
    entry = entries_.erase(entry);
  }
}

bool RevocationList::contains(const net::CertificateSerial& serial) const { return serials_->contains(serial); }

void RevocationList::subscribe(OnRevoked on_revoked) { on_revoked_.push_back(std::move(on_revoked)); }

std::vector<Revocation> RevocationList::entries() const {
  std::vector<Revocation> all;
  all.reserve(entries_.size());
  for (const auto& [serial, revocation] : entries_) all.push_back(revocation);
  return all;
}

void RevocationList::sign_again(const CertificateAuthority& authority) {
  for (auto& [serial, revocation] : entries_) revocation = authority.sign_revocation(serial, revocation.not_after);
}

std::vector<std::string> encode_revocations(std::span<const Revocation> revocations, std::size_t chunk_max) {
  REQUIRE(chunk_max >= kRevocationChunkMin);
  const std::size_t each = (chunk_max - 1) / kRevocationSize;
  std::vector<std::string> chunks;
  while (!revocations.empty()) {
    const std::size_t count = std::min(each, revocations.size());
    chunks.push_back(encode_all(revocations.first(count)));
    revocations = revocations.subspan(count);
  }
  return chunks;
}

std::expected<std::vector<Revocation>, std::string> decode_revocations(std::string_view chunk) {
  WireReader reader(chunk);
  if (reader.get<std::uint8_t>() != kVersion) return std::unexpected("revocations in a form that is not known here");
  if (reader.left() % kRevocationSize != 0 || reader.left() / kRevocationSize > kRevocationsMax)
    return std::unexpected(fmt::format("revocations of {} bytes, which is no length of ours", chunk.size()));
  std::vector<Revocation> revocations;
  revocations.reserve(reader.left() / kRevocationSize);
  while (reader.left() > 0) {
    Revocation& revocation = revocations.emplace_back();
    reader.get_bytes(revocation.serial.bytes);
    const auto seconds = reader.get<std::uint64_t>();
    if (seconds > kTimeMax) return std::unexpected("a revocation without a date");
    revocation.not_after = WallTime(std::chrono::seconds(seconds));
    reader.get_bytes(revocation.signature);
  }
  return revocations;
}

std::expected<RevocationsLoaded, FileError> load_revocations(const std::string& path, RevocationList& list,
                                                             WallTime now) {
  auto content = read_private_file(path, {.size_max = kFileMax, .content = FileContent::open});
  if (!content && content.error().kind == FileErrorKind::missing) return RevocationsLoaded{};
  if (!content) return std::unexpected(content.error());
  auto malformed = [&](std::string_view why) {
    return std::unexpected(FileError{FileErrorKind::malformed, fmt::format("{}: {}", path, why)});
  };
  std::string_view text = content->view();
  if (!text.starts_with(kFileMagic)) return malformed("not a list of revoked certificates");
  auto revocations = decode_revocations(text.substr(kFileMagic.size()));
  if (!revocations) return malformed(revocations.error());
  RevocationsLoaded loaded;
  for (const Revocation& revocation : *revocations) {
    auto added = list.add(revocation, now);
    ++(added && *added != RevocationAdded::expired ? loaded.kept : loaded.dropped);
  }
  return loaded;
}

std::expected<void, FileError> save_revocations(const std::string& path, const RevocationList& list) {
  return replace_private_file(path, fmt::format("{}{}", kFileMagic, encode_all(list.entries())));
}

}  // namespace sluice::cluster
