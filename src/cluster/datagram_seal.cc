#include "cluster/datagram_seal.h"

#include <openssl/evp.h>
#include <openssl/sha.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <list>
#include <string>
#include <unordered_map>

#include "base/require.h"
#include "base/wire.h"
#include "cluster/crypto_handle.h"
#include "cluster/key_derivation.h"
#include "cluster/replay_window.h"

namespace sluice::cluster {
namespace {

using DatagramKey = Secret<struct DatagramKeyTag>;
using Cipher = CryptoHandle<EVP_CIPHER, EVP_CIPHER_free>;
using CipherContext = CryptoHandle<EVP_CIPHER_CTX, EVP_CIPHER_CTX_free>;

constexpr std::string_view kKeyInfo = "sluice datagram 1";
constexpr std::string_view kHintInfo = "sluice gossip hint 1";
constexpr std::size_t kNonceSize = 12;

struct Header {
  std::uint8_t hint = 0;
  NodeId sender;
  BootNumber boot;
  std::uint64_t counter = 0;
};

const std::uint8_t* raw(std::string_view bytes) { return reinterpret_cast<const std::uint8_t*>(bytes.data()); }
std::uint8_t* raw(char* bytes) { return reinterpret_cast<std::uint8_t*>(bytes); }

void put_big_endian(std::uint64_t value, std::uint8_t* into) {
  for (std::size_t i = 0; i < sizeof value; ++i) into[i] = static_cast<std::uint8_t>(value >> (56 - 8 * i));
}

void write_header(const Header& header, std::uint8_t* into) {
  into[0] = kDatagramMagic;
  into[1] = kDatagramVersion;
  into[2] = header.hint;
  std::copy(header.sender.bytes.begin(), header.sender.bytes.end(), into + 3);
  put_big_endian(header.boot.value, into + 19);
  put_big_endian(header.counter, into + 27);
}

std::expected<Header, OpenError> read_header(std::string_view datagram) {
  WireReader reader(datagram);
  const bool ours = reader.get<std::uint8_t>() == kDatagramMagic && reader.get<std::uint8_t>() == kDatagramVersion;
  if (!ours) return std::unexpected(OpenError::not_ours);
  if (datagram.size() < kDatagramHeaderSize + kDatagramTagSize || datagram.size() > kDatagramMax)
    return std::unexpected(OpenError::malformed);
  Header header;
  header.hint = reader.get<std::uint8_t>();
  reader.get_bytes(header.sender.bytes);
  header.boot.value = reader.get<std::uint64_t>();
  header.counter = reader.get<std::uint64_t>();
  return header;
}

/// Which of the gossip secrets it is, in one byte, so that a stranger's datagram costs no decryption as a rule. It says
/// nothing of the secret: it is one byte of a derived value that is used for nothing else.
std::uint8_t hint_of(const GossipSecret& secret) {
  return derive<Secret<struct HintTag>>(secret, kHintInfo).bytes().front();
}

DatagramKey key_of(const GossipSecret& secret, const NodeId& sender, BootNumber boot) {
  WireWriter info;
  info.put_raw(kKeyInfo);
  info.put_bytes(sender.bytes);
  info.put(boot.value);
  return derive<DatagramKey>(secret, info.bytes());
}

enum class Direction { seal = 1, open = 0 };

/// ChaCha20-Poly1305 over buffers of the caller's, in one direction. The objects of the library are made once: making them
/// costs more than sealing.
class Aead final {
 public:
  explicit Aead(Direction direction)
      : cipher_(must(EVP_CIPHER_fetch(nullptr, "ChaCha20-Poly1305", nullptr))), context_(must(EVP_CIPHER_CTX_new())) {
    must_succeed(
        EVP_CipherInit_ex(context_.get(), cipher_.get(), nullptr, nullptr, nullptr, static_cast<int>(direction)));
  }

  void seal(const DatagramKey& key, std::uint64_t counter, std::string_view header, std::string_view plain,
            std::uint8_t* into) {
    start(key, counter);
    int size = 0;
    must_succeed(EVP_EncryptUpdate(context_.get(), nullptr, &size, raw(header), static_cast<int>(header.size())));
    if (!plain.empty())
      must_succeed(EVP_EncryptUpdate(context_.get(), into, &size, raw(plain), static_cast<int>(plain.size())));
    std::uint8_t* tag = into + plain.size();
    must_succeed(EVP_EncryptFinal_ex(context_.get(), tag, &size));
    must_succeed(EVP_CIPHER_CTX_ctrl(context_.get(), EVP_CTRL_AEAD_GET_TAG, kDatagramTagSize, tag));
  }

  /// Whether the tag was right; only then does `into` mean anything.
  bool open(const DatagramKey& key, std::uint64_t counter, std::string_view datagram, std::uint8_t* into) {
    CryptoErrorScope errors;
    start(key, counter);
    const std::string_view header = datagram.substr(0, kDatagramHeaderSize);
    const std::string_view text = datagram.substr(header.size(), datagram.size() - header.size() - kDatagramTagSize);
    // The library copies the tag from here; its type can't say that it writes nothing.
    auto* tag = const_cast<char*>(datagram.data() + datagram.size() - kDatagramTagSize);
    int size = 0;
    must_succeed(EVP_CIPHER_CTX_ctrl(context_.get(), EVP_CTRL_AEAD_SET_TAG, kDatagramTagSize, tag));
    must_succeed(EVP_DecryptUpdate(context_.get(), nullptr, &size, raw(header), static_cast<int>(header.size())));
    if (!text.empty())
      must_succeed(EVP_DecryptUpdate(context_.get(), into, &size, raw(text), static_cast<int>(text.size())));
    return EVP_DecryptFinal_ex(context_.get(), into + text.size(), &size) == 1;
  }

 private:
  void start(const DatagramKey& key, std::uint64_t counter) {
    std::array<std::uint8_t, kNonceSize> nonce{};
    put_big_endian(counter, nonce.data() + kNonceSize - sizeof counter);
    constexpr int kSameDirection = -1;
    must_succeed(EVP_CipherInit_ex(context_.get(), nullptr, nullptr, key.bytes().data(), nonce.data(), kSameDirection));
  }

  Cipher cipher_;
  CipherContext context_;
};

struct KnownSecret {
  GossipSecret secret;
  std::uint8_t hint;
};

std::vector<KnownSecret> with_hints(const std::vector<GossipSecret>& secrets) {
  REQUIRE(!secrets.empty());
  REQUIRE(secrets.size() <= kClusterKeysMax);
  std::vector<KnownSecret> known;
  for (const GossipSecret& secret : secrets) known.push_back({secret, hint_of(secret)});
  return known;
}

struct Sender {
  NodeId id;
  BootNumber boot;
  std::uint8_t hint;               // of the secret that `key` was derived from
  std::optional<DatagramKey> key;  // none: the secrets were replaced since
  ReplayWindow window;
};

struct HashOfId {
  std::size_t operator()(const NodeId& id) const {
    std::size_t hash;
    std::memcpy(&hash, id.bytes.data(), sizeof hash);  // ids are random
    return hash;
  }
};

/// The senders that were heard, and the floor for those that were forgotten.
class SenderTable final {
 public:
  explicit SenderTable(std::size_t senders_max) : senders_max_(senders_max) { REQUIRE(senders_max > 0); }

  Sender* find(const NodeId& id) {
    auto found = index_.find(id);
    return found == index_.end() ? nullptr : &*found->second;
  }

  bool is_new(const Header& header) {
    const Sender* sender = find(header.sender);
    if (sender == nullptr) return header.counter != 0 && header.boot > floor_;
    if (header.boot != sender->boot) return header.counter != 0 && header.boot > sender->boot;
    return sender->window.is_new(header.counter);
  }

  /// A datagram that is new, and that `key` opened.
  void accept(const Header& header, const DatagramKey& key) {
    auto found = index_.find(header.sender);
    if (found == index_.end()) {
      make_room();
      by_use_.push_front({header.sender, header.boot, header.hint, key, {}});
      found = index_.emplace(header.sender, by_use_.begin()).first;
    }
    Sender& sender = *found->second;
    if (sender.boot != header.boot) sender.window = {};
    sender.boot = header.boot;
    sender.hint = header.hint;
    sender.key = key;
    sender.window.accept(header.counter);
    by_use_.splice(by_use_.begin(), by_use_, found->second);
  }

  void forget_keys() {
    for (Sender& sender : by_use_) sender.key.reset();
  }

  std::size_t size() const { return index_.size(); }

 private:
  void make_room() {
    if (index_.size() < senders_max_) return;
    const Sender& oldest = by_use_.back();
    floor_ = std::max(floor_, oldest.boot);
    index_.erase(oldest.id);
    by_use_.pop_back();
  }

  const std::size_t senders_max_;
  std::list<Sender> by_use_;  // the one that was heard last in front
  std::unordered_map<NodeId, std::list<Sender>::iterator, HashOfId> index_;
  BootNumber floor_;
};

}  // namespace

struct DatagramSealer::Impl {
  NodeId sender;
  BootNumber boot;
  std::uint8_t hint;
  DatagramKey key;
  std::uint64_t counter = 0;
  Aead aead{Direction::seal};
  std::array<char, kDatagramMax> datagram{};
};

DatagramSealer::DatagramSealer(const GossipSecret& secret, const NodeId& sender, BootNumber boot)
    : impl_(new Impl{.sender = sender, .boot = boot, .hint = hint_of(secret), .key = key_of(secret, sender, boot)}) {}
DatagramSealer::DatagramSealer(DatagramSealer&&) noexcept = default;
DatagramSealer& DatagramSealer::operator=(DatagramSealer&&) noexcept = default;
DatagramSealer::~DatagramSealer() = default;

std::string_view DatagramSealer::seal(std::string_view plain) {
  REQUIRE(plain.size() <= kDatagramPlainMax);
  Impl& own = *impl_;
  ++own.counter;
  INVARIANT(own.counter != 0);
  write_header({own.hint, own.sender, own.boot, own.counter}, raw(own.datagram.data()));
  const std::string_view header(own.datagram.data(), kDatagramHeaderSize);
  own.aead.seal(own.key, own.counter, header, plain, raw(own.datagram.data() + header.size()));
  return {own.datagram.data(), header.size() + plain.size() + kDatagramTagSize};
}

void DatagramSealer::replace_secret(const GossipSecret& secret) {
  impl_->hint = hint_of(secret);
  impl_->key = key_of(secret, impl_->sender, impl_->boot);
}

struct DatagramOpener::Impl {
  std::vector<KnownSecret> secrets;
  std::optional<NodeId> own;
  BootNumber own_boot;
  SenderTable senders;
  Aead aead{Direction::open};
  std::array<char, kDatagramPlainMax> plain{};

  /// The key that opens it; `plain` holds the text then.
  std::optional<DatagramKey> open(const Header& header, std::string_view datagram) {
    const Sender* sender = senders.find(header.sender);
    const bool cached = sender != nullptr && sender->key && sender->boot == header.boot && sender->hint == header.hint;
    if (cached && opens(*sender->key, header, datagram)) return sender->key;
    for (const KnownSecret& known : secrets) {
      if (known.hint != header.hint) continue;
      DatagramKey key = key_of(known.secret, header.sender, header.boot);
      if (opens(key, header, datagram)) return key;
    }
    return std::nullopt;
  }

  bool opens(const DatagramKey& key, const Header& header, std::string_view datagram) {
    return aead.open(key, header.counter, datagram, raw(plain.data()));
  }
};

DatagramOpener::DatagramOpener(std::vector<GossipSecret> secrets, std::optional<NodeId> own, Options options)
    : impl_(new Impl{.secrets = with_hints(secrets),
                     .own = own,
                     .own_boot = options.own_boot,
                     .senders = SenderTable(options.senders_max)}) {}
DatagramOpener::DatagramOpener(DatagramOpener&&) noexcept = default;
DatagramOpener& DatagramOpener::operator=(DatagramOpener&&) noexcept = default;
DatagramOpener::~DatagramOpener() = default;

std::expected<Opened, OpenError> DatagramOpener::open(std::string_view datagram) {
  auto header = read_header(datagram);
  if (!header) return std::unexpected(header.error());
  if (impl_->own == header->sender && header->boot <= impl_->own_boot) return std::unexpected(OpenError::own);
  const bool remembered = !header->boot.is_passer_by();
  // Before the tag is checked: a replay is cheap to refuse, and nothing is learned from it.
  if (remembered && !impl_->senders.is_new(*header)) return std::unexpected(OpenError::replayed);
  auto key = impl_->open(*header, datagram);
  if (!key) return std::unexpected(OpenError::wrong_key);
  if (remembered) impl_->senders.accept(*header, *key);
  const std::size_t size = datagram.size() - kDatagramHeaderSize - kDatagramTagSize;
  return Opened{header->sender, header->boot, header->counter, {impl_->plain.data(), size}};
}

std::optional<NodeId> DatagramOpener::sender_if_outdated(std::string_view datagram) {
  auto header = read_header(datagram);
  if (!header || header->boot.is_passer_by()) return std::nullopt;
  const Sender* sender = impl_->senders.find(header->sender);
  BootNumber latest = sender != nullptr ? sender->boot : BootNumber{};
  if (impl_->own == header->sender) latest = std::max(latest, impl_->own_boot);
  if (header->boot >= latest || !impl_->open(*header, datagram)) return std::nullopt;
  return header->sender;
}

void DatagramOpener::replace_secrets(std::vector<GossipSecret> secrets) {
  impl_->secrets = with_hints(secrets);
  impl_->senders.forget_keys();
}

std::size_t DatagramOpener::senders() const { return impl_->senders.size(); }

}  // namespace sluice::cluster
