#include "exec/spawn_protocol.h"

#include <bit>
#include <cstring>
#include <type_traits>

#include "base/require.h"

namespace sluice::exec {
namespace {

static_assert(std::endian::native == std::endian::little, "integers are copied as they lie in memory");

constexpr std::size_t kHeaderSize = 5;
constexpr char kDescriptorKind = '\xff';
// A buffer that one large message has blown up is given back: an idle spawner is to stay small.
constexpr std::size_t kBufferKept = std::size_t{16} << 10;

// Each message lists its fields once; the encoder and the decoder both walk that list.
template <class A>
void fields(A& a, Program& m) {
  a(m.path, m.arguments, m.script_shell, m.input, m.output, m.error, m.guarded_input, m.by_job, m.variables);
}
template <class A>
void fields(A& a, OutputName& m) {
  a(m.program, m.kind);
}
template <class A>
void fields(A& a, RunAs& m) {
  a(m.uid, m.gid, m.groups);
}
template <class A>
void fields(A& a, Keep& m) {
  a(m.directory, m.output_bytes_max, m.survives_owner);
}
template <class A>
void fields(A& a, Launch& m) {
  a(m.programs, m.environment, m.directory, m.process_group, m.account_io, m.observe_links, m.run_as, m.keep,
    m.captures);
}
template <class A>
void fields(A& a, SendSignal& m) {
  a(m.signal, m.programs, m.strays_too, m.then_continue);
}
template <class A>
void fields(A& a, ReleaseInput& m) {
  a(m.program);
}
template <class A>
void fields(A&, RequestSurvey&) {}
template <class A>
void fields(A&, EndAll&) {}
template <class A>
void fields(A&, Detach&) {}
template <class A>
void fields(A& a, WatchOutput& m) {
  a(m.output, m.beyond);
}
template <class A>
void fields(A& a, Hello& m) {
  a(m.version, m.pid, m.cgroup);
}
template <class A>
void fields(A& a, Started& m) {
  a(m.pids, m.observers);
}
template <class A>
void fields(A& a, LaunchFailed& m) {
  a(m.program, m.error, m.action);
}
template <class A>
void fields(A& a, Exited& m) {
  a(m.program, m.wait_status, m.output_reader, m.user_us, m.system_us, m.peak_memory_bytes, m.io_known, m.io_read_bytes,
    m.io_write_bytes);
}
template <class A>
void fields(A&, Childless&) {}
template <class A>
void fields(A& a, Stray& m) {
  a(m.pid, m.name, m.drains_pipe);
}
template <class A>
void fields(A& a, Survey& m) {
  a(m.strays, m.total);
}
template <class A>
void fields(A& a, OutputGrew& m) {
  a(m.output, m.total_bytes, m.ended);
}
template <class A>
void fields(A& a, OutputDropped& m) {
  a(m.output, m.error);
}
template <class A>
void fields(A& a, StartJob& m) {
  a(m.job, m.seat, m.arguments, m.error_passed, m.guarded_input);
}
template <class A>
void fields(A& a, ReleaseJobInput& m) {
  a(m.job);
}
template <class A>
void fields(A& a, SignalJob& m) {
  a(m.job, m.signal);
}
template <class A>
void fields(A& a, JobStarted& m) {
  a(m.job, m.pid);
}
template <class A>
void fields(A& a, JobFailed& m) {
  a(m.job, m.error, m.action);
}
template <class A>
void fields(A& a, JobEnded& m) {
  a(m.job, m.wait_status, m.run_us, m.user_us, m.system_us, m.peak_memory_bytes);
}
template <class A>
void fields(A&, JobsRefused&) {}
template <class A>
void fields(A& a, ForkSpawner& m) {
  a(m.token, m.cgroup_home);
}
template <class A>
void fields(A& a, SignalSpawner& m) {
  a(m.pid, m.signal);
}
template <class A>
void fields(A& a, SpawnerForked& m) {
  a(m.token, m.pid);
}
template <class A>
void fields(A& a, ForkFailed& m) {
  a(m.token, m.error);
}
template <class A>
void fields(A& a, SpawnerEnded& m) {
  a(m.pid, m.wait_status);
}

class Encoder final {
 public:
  template <class... T>
  void operator()(T&... values) {
    (put(values), ...);
  }
  std::string take() { return std::move(bytes_); }

 private:
  template <class T>
  requires(std::is_integral_v<T> || std::is_enum_v<T>) void put(T value) {
    char raw[sizeof(T)];
    std::memcpy(raw, &value, sizeof(T));
    bytes_.append(raw, sizeof(T));
  }
  void put(std::string& text) {
    put(static_cast<std::uint32_t>(text.size()));
    bytes_.append(text);
  }
  template <class T>
  void put(std::vector<T>& items) {
    put(static_cast<std::uint32_t>(items.size()));
    for (T& item : items) put(item);
  }
  template <class T>
  void put(std::optional<T>& item) {
    put(item.has_value());
    if (item) put(*item);
  }
  template <class T>
  requires std::is_class_v<T>
  void put(T& message) { fields(*this, message); }
  std::string bytes_;
};

class Decoder final {
 public:
  explicit Decoder(std::string_view bytes) : bytes_(bytes) {}
  template <class... T>
  void operator()(T&... values) {
    (get(values), ...);
  }
  bool complete() const { return good_ && bytes_.empty(); }

 private:
  template <class T>
  requires(std::is_integral_v<T> || std::is_enum_v<T>) void get(T& value) {
    if (bytes_.size() < sizeof(T)) return fail();
    if constexpr (std::is_same_v<T, bool>) {
      if (bytes_[0] != 0 && bytes_[0] != 1) return fail();
      value = bytes_[0] == 1;
    } else {
      std::memcpy(&value, bytes_.data(), sizeof(T));
    }
    bytes_.remove_prefix(sizeof(T));
  }
  void get(std::string& text) {
    std::uint32_t size = 0;
    get(size);
    if (bytes_.size() < size) return fail();
    text.assign(bytes_.substr(0, size));
    bytes_.remove_prefix(size);
  }
  template <class T>
  void get(std::vector<T>& items) {
    std::uint32_t count = 0;
    get(count);
    if (bytes_.size() < count) return fail();  // every item takes a byte at least
    items.reserve(count);
    for (std::uint32_t i = 0; i < count && good_; ++i) get(items.emplace_back());
  }
  template <class T>
  void get(std::optional<T>& item) {
    bool present = false;
    get(present);
    if (present) get(item.emplace());
  }
  template <class T>
  requires std::is_class_v<T>
  void get(T& message) { fields(*this, message); }
  void fail() {
    good_ = false;
    bytes_ = {};
  }
  std::string_view bytes_;
  bool good_ = true;
};

template <class Variant>
std::string encode_variant(const Variant& message) {
  return std::visit(
      [&](auto copy) {
        Encoder encoder;
        fields(encoder, copy);
        std::string body = encoder.take();
        REQUIRE(body.size() <= kFrameMax);
        auto length = static_cast<std::uint32_t>(body.size());
        std::string frame(kHeaderSize, '\0');
        std::memcpy(frame.data(), &length, sizeof length);
        frame[4] = static_cast<char>(message.index());
        return frame + body;
      },
      message);
}

template <class Variant, std::size_t I = 0>
std::optional<Variant> decode_variant(std::size_t kind, std::string_view body) {
  if constexpr (I < std::variant_size_v<Variant>) {
    if (kind != I) return decode_variant<Variant, I + 1>(kind, body);
    std::variant_alternative_t<I, Variant> message;
    Decoder decoder(body);
    fields(decoder, message);
    if (!decoder.complete()) return std::nullopt;
    return Variant(std::in_place_index<I>, std::move(message));
  } else {
    return std::nullopt;
  }
}

}  // namespace

std::string encode(const OwnerMessage& message) { return encode_variant(message); }
std::string encode(const SpawnerMessage& message) { return encode_variant(message); }
std::string encode(const JobRequest& request) { return encode_variant(request); }
std::string encode(const JobEvent& event) { return encode_variant(event); }
std::string encode(const ZygoteRequest& request) { return encode_variant(request); }
std::string encode(const ZygoteEvent& event) { return encode_variant(event); }

std::string_view descriptor_frame() {
  static constexpr char kFrame[kHeaderSize] = {0, 0, 0, 0, kDescriptorKind};
  return {kFrame, kHeaderSize};
}

template <class Message>
std::expected<std::optional<Message>, std::string> MessageReader<Message>::next() {
  std::string_view pending = std::string_view(buffer_).substr(consumed_);
  while (pending.starts_with(descriptor_frame())) {
    pending.remove_prefix(kHeaderSize);
    consumed_ += kHeaderSize;
  }
  std::uint32_t length = 0;
  if (pending.size() >= kHeaderSize) std::memcpy(&length, pending.data(), sizeof length);
  if (length > kFrameMax) return std::unexpected("a frame of " + std::to_string(length) + " bytes");
  if (pending.size() < kHeaderSize + length) {
    buffer_.erase(0, consumed_);
    consumed_ = 0;
    if (buffer_.empty() && buffer_.capacity() > kBufferKept) buffer_.shrink_to_fit();
    return std::optional<Message>();
  }
  auto kind = static_cast<unsigned char>(pending[4]);
  auto message = decode_variant<Message>(kind, pending.substr(kHeaderSize, length));
  if (!message) return std::unexpected("a malformed frame of kind " + std::to_string(kind));
  consumed_ += kHeaderSize + length;
  return message;
}

template class MessageReader<OwnerMessage>;
template class MessageReader<SpawnerMessage>;
template class MessageReader<JobRequest>;
template class MessageReader<JobEvent>;
template class MessageReader<ZygoteRequest>;
template class MessageReader<ZygoteEvent>;

}  // namespace sluice::exec
