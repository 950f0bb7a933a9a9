// What a record link carries beside ZeroMQ: records of 100 bytes over TCP on loopback, each process with one thread of
// data, ours acknowledged to the end.
//
//   record_links_bench             races all, in pairs that take turns
//   record_links_bench SHAPE       one of: pair, pair-tls, workers, workers-tls, zmq-pair, zmq-workers, redis-workers,
//                                  jetstream-workers; once, in seconds
//
// `pair` is one producer and one consumer. `workers` is a producer, four workers that send each record on, and a sink: a
// worker acknowledges a record when the sink has acknowledged what it made of it. Every record is written by itself, with
// a number in it, and looked at by itself; the numbers must add up at the end. ZeroMQ's PUSH and PULL do the same with
// zmq_send and zmq_recv, and acknowledge nothing. Redis Streams and NATS JetStream, both in memory, acknowledge at each hop
// as ours does, but by way of a server. SLUICE_BENCH_SCALE=0.1 makes it a quick look.
#include <arpa/inet.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef SLUICE_BENCH_ZMQ
#include <zmq.h>
#endif

#include <algorithm>
#include <array>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <fstream>
#include <functional>
#include <iterator>
#include <optional>
#include <string>
#include <vector>

#include "jet_stream.h"
#include "link/record_builder.h"
#include "link/record_intake.h"
#include "link/record_supply.h"
#include "net/tls.h"
#include "redis_streams.h"

namespace {

namespace net = sluice::net;
namespace link = sluice::link;
using sluice::UniqueFd;

constexpr std::size_t kRecordSize = 100;
constexpr int kWorkers = 4;

[[noreturn]] void die(const std::string& why) {
  fmt::print(stderr, "record_links_bench: {}\n", why);
  std::_Exit(1);
}

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

std::uint64_t sum_up_to(std::uint64_t count) { return count * (count + 1) / 2; }

// ---- what both have in common: the records -------------------------------------------------------------------------

class RecordMaker {
 public:
  std::string_view next(std::uint64_t number) {
    std::memcpy(record_.data(), &number, sizeof number);
    return {record_.data(), record_.size()};
  }

 private:
  std::array<char, kRecordSize> record_{};
};

std::uint64_t number_in(std::string_view record) {
  std::uint64_t number = 0;
  if (record.size() != kRecordSize) die("a record of another size came");
  std::memcpy(&number, record.data(), sizeof number);
  return number;
}

// ---- connections -------------------------------------------------------------------------------------------------

sockaddr_in loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

struct Listener {
  UniqueFd socket;
  int port = 0;
};

// Made before the processes that use it: nobody has to wait for it.
Listener listen_somewhere() {
  Listener listener{.socket = UniqueFd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0))};
  sockaddr_in address = loopback(0);
  auto* any = reinterpret_cast<sockaddr*>(&address);
  socklen_t size = sizeof address;
  if (::bind(listener.socket.get(), any, size) != 0 || ::listen(listener.socket.get(), 16) != 0 ||
      ::getsockname(listener.socket.get(), any, &size) != 0)
    die("no port to listen at");
  listener.port = ntohs(address.sin_port);
  return listener;
}

std::string read_file(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// A throwaway authority and one certificate of it.
net::TlsContext make_tls() {
  char folder[] = "/tmp/record_links_bench.XXXXXX";
  if (::mkdtemp(folder) == nullptr) die("no temporary folder");
  std::string script = R"(cd "$0" && exec >/dev/null 2>&1 &&
    openssl req -x509 -newkey ed25519 -nodes -days 2 -keyout authority.key -out authority.pem -subj /CN=bench \
      -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign &&
    openssl req -newkey ed25519 -nodes -keyout node.key -out node.csr -subj /CN=n1 &&
    echo subjectAltName=URI:sluice:role:node,URI:sluice:node:000102030405060708090a0b0c0d0e0f > names &&
    openssl x509 -req -in node.csr -CA authority.pem -CAkey authority.key -days 2 -set_serial 17 -extfile names \
      -out node.pem)";
  std::string place = folder;
  if (std::system(("/bin/sh -c '" + script + "' " + place).c_str()) != 0) die("openssl makes no certificates");
  auto context = net::TlsContext::make({.certificate_pem = read_file(place + "/node.pem"),
                                        .private_key_pem = read_file(place + "/node.key"),
                                        .authority_pems = {read_file(place + "/authority.pem")}});
  if (!context) die(context.error().message);
  if (std::system(("rm -r " + place).c_str()) != 0) die("a temporary folder stays");
  return *std::move(context);
}

void shake_hands(int socket, net::TlsSession& session) {
  if (!session.start()) die("TLS does not start");
  std::vector<std::byte> buffer(std::size_t{16} << 10);
  while (true) {
    while (!session.cipher().empty()) {
      ssize_t sent = ::send(socket, session.cipher().data(), session.cipher().size(), MSG_NOSIGNAL);
      if (sent <= 0) die("the handshake broke");
      session.consume_cipher(static_cast<std::size_t>(sent));
    }
    if (session.handshaken()) return;
    ssize_t got = ::recv(socket, buffer.data(), buffer.size(), 0);
    if (got <= 0) die("the handshake broke");
    auto taken = session.on_cipher(std::span(buffer).first(static_cast<std::size_t>(got)));
    if (!taken) die(taken.error().message);
  }
}

net::Connection::Parts accept_at(const Listener& listener, const net::TlsContext* tls) {
  net::Connection::Parts parts;
  parts.socket = UniqueFd(::accept4(listener.socket.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!parts.socket) die("nobody came");
  if (tls != nullptr) shake_hands(parts.socket.get(), parts.tls.emplace(tls->server()));
  return parts;
}

net::Connection::Parts connect_to(const Listener& listener, const net::TlsContext* tls) {
  net::Connection::Parts parts;
  sockaddr_in address = loopback(listener.port);
  parts.socket = UniqueFd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (::connect(parts.socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) die("no connection");
  if (tls != nullptr) shake_hands(parts.socket.get(), parts.tls.emplace(tls->client()));
  return parts;
}

// ---- our ends ------------------------------------------------------------------------------------------------------

class Numbers final : public link::RecordSource {
 public:
  explicit Numbers(std::uint64_t count) : count_(count) {}
  std::expected<void, std::string> open(const link::DataLoops::Seat& seat, link::LoopWaker) override {
    builder_ = link::RecordBuilder({}, seat.record_blocks());
    return {};
  }
  std::expected<Pulled, std::string> pull() override {
    std::uint64_t first = made_ + 1;
    while (made_ < count_ && !builder_.is_full_for(kRecordSize)) builder_.add(maker_.next(++made_));
    return Pulled{.batch = builder_.take(first), .status = made_ == count_ ? Status::ended : Status::more};
  }

 private:
  std::uint64_t count_, made_ = 0;
  RecordMaker maker_;
  link::RecordBuilder builder_;
};

class Adder final : public link::RecordSink {
 public:
  explicit Adder(std::uint64_t& sum) : sum_(sum) {}
  std::expected<void, Failure> open(const link::DataLoops::Seat&, link::LoopWaker) override { return {}; }
  std::optional<link::RecordConsumer::Limits> room() override { return link::RecordConsumer::Limits{}; }
  void take(link::RecordDelivery delivery) override {
    link::for_each_record(delivery.batch, [&](auto, std::string_view record) { sum_ += number_in(record); });
    settled_ = {.first = settled_ ? settled_->first : delivery.first,
                .last = delivery.first + delivery.batch.count() - 1};
  }
  std::optional<Settled> poll_settled() override {
    auto settled = std::exchange(settled_, std::nullopt);
    if (!settled) return std::nullopt;
    return *settled;
  }

 private:
  std::uint64_t& sum_;
  std::optional<link::DeliveryRange> settled_;
};

// Between the sink and the source of a worker, which share a loop.
struct Echo {
  std::deque<link::RecordBatch> made;
  std::uint64_t last_made = 0;  // its id
  std::size_t made_bytes = 0;
  bool ended = false;
  struct Debt {
    std::uint64_t last_made;   // when this is settled ...
    link::DeliveryRange owed;  // ... these are
  };
  std::deque<Debt> debts;
  std::deque<link::DeliveryRange> settled;
  std::optional<link::LoopWaker> sink, source;
};

class EchoSink final : public link::RecordSink {
 public:
  explicit EchoSink(std::shared_ptr<Echo> echo) : echo_(std::move(echo)) {}
  std::expected<void, Failure> open(const link::DataLoops::Seat& seat, link::LoopWaker waker) override {
    builder_ = link::RecordBuilder({}, seat.record_blocks());
    echo_->sink = std::move(waker);
    return {};
  }
  std::optional<link::RecordConsumer::Limits> room() override {
    if (echo_->made_bytes >= std::size_t{256} << 10) return std::nullopt;
    return link::RecordConsumer::Limits{};
  }
  void take(link::RecordDelivery delivery) override {
    link::for_each_record(delivery.batch, [&](auto, std::string_view record) {
      if (builder_.is_full_for(record.size())) flush();
      builder_.add(record);
    });
    flush();
    echo_->debts.push_back({.last_made = echo_->last_made,
                            .owed = {.first = delivery.first, .last = delivery.first + delivery.batch.count() - 1}});
    if (echo_->source) echo_->source->wake();
  }
  std::optional<Settled> poll_settled() override {
    if (echo_->settled.empty()) return std::nullopt;
    link::DeliveryRange range = echo_->settled.front();
    echo_->settled.pop_front();
    return range;
  }
  void close() override {
    echo_->ended = true;
    if (echo_->source) echo_->source->wake();
  }

 private:
  void flush() {
    link::RecordBatch batch = builder_.take(echo_->last_made + 1);
    if (batch.empty()) return;
    echo_->last_made = batch.last();
    echo_->made_bytes += batch.size();
    echo_->made.push_back(std::move(batch));
  }
  std::shared_ptr<Echo> echo_;  // with the source
  link::RecordBuilder builder_;
};

class EchoSource final : public link::RecordSource {
 public:
  explicit EchoSource(std::shared_ptr<Echo> echo) : echo_(std::move(echo)) {}
  std::expected<void, std::string> open(const link::DataLoops::Seat&, link::LoopWaker waker) override {
    echo_->source = std::move(waker);
    return {};
  }
  std::expected<Pulled, std::string> pull() override {
    if (echo_->made.empty()) return Pulled{.batch = {}, .status = echo_->ended ? Status::ended : Status::waits};
    Pulled pulled{.batch = std::move(echo_->made.front()), .status = Status::more};
    echo_->made.pop_front();
    bool had_room = echo_->made_bytes < std::size_t{256} << 10;
    echo_->made_bytes -= pulled.batch.size();
    if (!had_room) echo_->sink->wake();
    return pulled;
  }
  void on_settled(link::RecordId below) override {
    bool any = false;
    for (; !echo_->debts.empty() && echo_->debts.front().last_made < below; echo_->debts.pop_front()) {
      echo_->settled.push_back(echo_->debts.front().owed);
      any = true;
    }
    if (any) echo_->sink->wake();
  }

 private:
  std::shared_ptr<Echo> echo_;  // with the sink
};

// What a process of ours has: an owner's loop and one loop for data.
struct Process {
  boost::asio::io_context owner{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work = boost::asio::make_work_guard(owner);
  link::DataLoops loops{{.threads_max = 1}};
  int ends_missing = 0;

  link::RecordSupply supply(std::unique_ptr<link::RecordSource> source, std::size_t consumers) {
    ++ends_missing;
    link::RecordSupplyOptions options{.owner = owner.get_executor()};
    options.consumers = consumers;
    link::RecordSupplyCallbacks callbacks;
    callbacks.on_event = [](const link::RecordSupplyEvent& event) {
      if (const auto* gone = std::get_if<link::RecordConsumerGone>(&event)) die(gone->reason);
    };
    callbacks.on_end = [this](const link::RecordSupplyEnd& end) {
      if (end.kind != link::RecordSupplyEnd::Kind::ended) die(end.message);
      --ends_missing;
    };
    return link::start_supply(loops, std::move(source), options, std::move(callbacks));
  }
  link::RecordIntake intake(std::unique_ptr<link::RecordSink> sink, net::Connection::Parts parts) {
    ++ends_missing;
    link::RecordIntakeCallbacks callbacks;
    callbacks.on_end = [this](const link::RecordIntakeEnd& end) {
      if (end.kind != link::RecordIntakeEnd::Kind::ended) die(end.message);
      --ends_missing;
    };
    auto intake = link::start_intake(loops, std::move(sink), {.owner = owner.get_executor()}, std::move(callbacks));
    intake.connect(std::move(parts));
    return intake;
  }
  void run() {
    while (ends_missing > 0) owner.run_one();
    loops.close();
  }
};

double produce(const Listener& listener, const net::TlsContext* tls, std::uint64_t count, int consumers) {
  Process process;
  std::vector<net::Connection::Parts> connections;
  for (int i = 0; i < consumers; ++i) connections.push_back(accept_at(listener, tls));
  auto began = Clock::now();
  auto supply = process.supply(std::make_unique<Numbers>(count), static_cast<std::size_t>(consumers));
  for (int i = 0; i < consumers; ++i)
    supply.connect(static_cast<std::uint32_t>(i), 1, std::move(connections[static_cast<std::size_t>(i)]));
  process.run();
  return seconds_since(began);
}

void consume(const std::vector<const Listener*>& producers, const net::TlsContext* tls, std::uint64_t count) {
  Process process;
  std::uint64_t sum = 0;
  std::vector<link::RecordIntake> intakes;
  for (const Listener* producer : producers)
    intakes.push_back(process.intake(std::make_unique<Adder>(sum), connect_to(*producer, tls)));
  process.run();
  if (sum != sum_up_to(count)) die("records were lost or repeated");
}

void echo(const Listener& producer, const Listener& own, const net::TlsContext* tls) {
  Process process;
  auto shared = std::make_shared<Echo>();
  auto intake = process.intake(std::make_unique<EchoSink>(shared), connect_to(producer, tls));
  auto supply = process.supply(std::make_unique<EchoSource>(shared), 1);
  supply.connect(0, 1, accept_at(own, tls));
  process.run();
}

// ---- ZeroMQ's ------------------------------------------------------------------------------------------------------

#ifdef SLUICE_BENCH_ZMQ
class ZmqSocket {
 public:
  ZmqSocket(void* context, int type) : socket_(::zmq_socket(context, type)) {
    // With the default of 1,000 it is slower.
    int high_water = 100'000;
    ::zmq_setsockopt(socket_, ZMQ_SNDHWM, &high_water, sizeof high_water);
    ::zmq_setsockopt(socket_, ZMQ_RCVHWM, &high_water, sizeof high_water);
  }
  ~ZmqSocket() { ::zmq_close(socket_); }
  ZmqSocket(const ZmqSocket&) = delete;
  ZmqSocket& operator=(const ZmqSocket&) = delete;

  void bind(int port) { check(::zmq_bind(socket_, url(port).c_str())); }
  void connect(int port) { check(::zmq_connect(socket_, url(port).c_str())); }
  void send(std::string_view record) { check(::zmq_send(socket_, record.data(), record.size(), 0)); }
  std::size_t receive(std::array<char, kRecordSize>& into) {
    return static_cast<std::size_t>(check(::zmq_recv(socket_, into.data(), into.size(), 0)));
  }

 private:
  static std::string url(int port) { return fmt::format("tcp://127.0.0.1:{}", port); }
  static int check(int result) {
    if (result < 0) die(::zmq_strerror(::zmq_errno()));
    return result;
  }
  void* socket_;
};

struct ZmqContext {
  void* context = ::zmq_ctx_new();
  ~ZmqContext() { ::zmq_ctx_term(context); }
};

void zmq_produce(int port, std::uint64_t count) {
  ZmqContext context;
  ZmqSocket out(context.context, ZMQ_PUSH);
  out.bind(port);
  RecordMaker maker;
  for (std::uint64_t i = 1; i <= count; ++i) out.send(maker.next(i));
}

double zmq_consume(const std::vector<int>& ports, std::uint64_t count) {
  ZmqContext context;
  ZmqSocket in(context.context, ZMQ_PULL);
  for (int port : ports) in.connect(port);
  std::array<char, kRecordSize> record{};
  std::uint64_t sum = 0;
  Clock::time_point began;
  for (std::uint64_t i = 0; i < count; ++i) {
    std::size_t size = in.receive(record);
    if (i == 0) began = Clock::now();
    sum += number_in({record.data(), size});
  }
  double seconds = seconds_since(began);
  if (sum != sum_up_to(count)) die("records were lost or repeated");
  return seconds;
}

void zmq_echo(int from, int port) {
  ZmqContext context;
  ZmqSocket in(context.context, ZMQ_PULL), out(context.context, ZMQ_PUSH);
  out.bind(port);
  in.connect(from);
  std::array<char, kRecordSize> record{};
  while (true) out.send({record.data(), in.receive(record)});
}
#endif

// ---- the race ------------------------------------------------------------------------------------------------------

struct Run {
  double seconds = 0, cpu = 0;
};

double to_seconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
}

class Processes {
 public:
  enum class Kind {
    timed,    // its work says how long all took
    awaited,  // it ends by itself
    endless,  // it is killed when the others have ended
  };
  /// Runs in a process of its own.
  void start(Kind kind, std::function<double()> work) {
    bool timed = kind == Kind::timed;
    std::array<int, 2> ends{};
    if (timed && ::pipe(ends.data()) != 0) die("no pipe");
    pid_t child = ::fork();
    if (child == 0) {
      ::alarm(kPatienceSeconds);
      double seconds = work();
      if (timed && ::write(ends[1], &seconds, sizeof seconds) != sizeof seconds) die("nobody wants the time");
      std::_Exit(0);
    }
    (kind == Kind::endless ? endless_ : children_).push_back(child);
    if (!timed) return;
    ::close(ends[1]);
    time_.reset(ends[0]);
  }
  Run await() {
    Run run;
    for (pid_t child : children_) run.cpu += cpu_of(child, 0);
    // A server that was started first goes last.
    for (auto child = endless_.rbegin(); child != endless_.rend(); ++child) {
      ::kill(*child, SIGKILL);
      run.cpu += cpu_of(*child, SIGKILL);
    }
    if (::read(time_.get(), &run.seconds, sizeof run.seconds) != sizeof run.seconds) die("nobody took the time");
    return run;
  }

 private:
  static constexpr unsigned kPatienceSeconds = 120;

  static double cpu_of(pid_t child, int expected_status) {
    rusage usage{};
    int status = 0;
    if (::wait4(child, &status, 0, &usage) != child || status != expected_status) die("a process failed");
    return to_seconds(usage.ru_utime) + to_seconds(usage.ru_stime);
  }

  std::vector<pid_t> children_, endless_;
  UniqueFd time_;
};

Run run_ours(std::uint64_t count, bool workers, const net::TlsContext* tls) {
  Processes processes;
  Listener first = listen_somewhere();
  std::array<Listener, kWorkers> own;
  std::vector<const Listener*> producers;
  for (Listener& listener : own) producers.push_back(&(listener = listen_somewhere()));
  if (!workers) producers = {&first};
  processes.start(Processes::Kind::timed, [&] { return produce(first, tls, count, workers ? kWorkers : 1); });
  for (int i = 0; workers && i < kWorkers; ++i)
    processes.start(Processes::Kind::awaited,
                    [&, i] { return echo(first, own[static_cast<std::size_t>(i)], tls), 0.0; });
  processes.start(Processes::Kind::awaited, [&] { return consume(producers, tls, count), 0.0; });
  return processes.await();
}

#ifdef SLUICE_BENCH_ZMQ
Run run_zmq(std::uint64_t count, bool workers) {
  Processes processes;
  int first = listen_somewhere().port;
  std::vector<int> ports;
  for (int i = 0; i < kWorkers; ++i) ports.push_back(listen_somewhere().port);
  processes.start(Processes::Kind::awaited, [&] { return zmq_produce(first, count), 0.0; });
  for (int i = 0; workers && i < kWorkers; ++i)
    processes.start(Processes::Kind::endless,
                    [&, i] { return zmq_echo(first, ports[static_cast<std::size_t>(i)]), 0.0; });
  if (!workers) ports = {first};
  processes.start(Processes::Kind::timed, [&] { return zmq_consume(ports, count); });
  return processes.await();
}
#endif

// ---- servers that acknowledge ----------------------------------------------------------------------------------------

// A server of the rest of us: a folder of its own, and how it is used.
struct Server {
  std::string program;
  std::vector<std::string> (*command)(int port, const std::string& folder);
  void (*prepare)(int port);
  void (*produce)(int port, std::uint64_t count, const std::function<std::string_view(std::uint64_t)>& record);
  void (*work)(int port, int worker);
  void (*consume)(int port, std::uint64_t count, const std::function<void(std::string_view)>& take);
};

const Server kRedis{
    .program = "redis-server",
    .command = [](int port, const std::string&) { return sluice::bench::redis_command(port); },
    .prepare = sluice::bench::redis_prepare,
    .produce = sluice::bench::redis_produce,
    .work = sluice::bench::redis_work,
    .consume = sluice::bench::redis_consume,
};
const Server kJetStream{
    .program = "nats-server",
    .command = sluice::bench::jet_stream_command,
    .prepare = sluice::bench::jet_stream_prepare,
    .produce = sluice::bench::jet_stream_produce,
    .work = [](int port, int) { sluice::bench::jet_stream_work(port); },
    .consume = sluice::bench::jet_stream_consume,
};

bool is_installed(const std::string& program) {
  for (const char* folder : {"/usr/bin/", "/usr/sbin/", "/usr/local/bin/"})
    if (::access((folder + program).c_str(), X_OK) == 0) return true;
  return false;
}

[[noreturn]] void execute(std::vector<std::string> command) {
  std::vector<char*> words;
  for (std::string& word : command) words.push_back(word.data());
  words.push_back(nullptr);
  ::setenv("PATH", "/usr/local/bin:/usr/bin:/usr/sbin", 1);
  ::execvp(words[0], words.data());
  die(command[0] + " cannot be started");
}

Run run_server(const Server& server, std::uint64_t count) {
  Processes processes;
  char folder[] = "/tmp/record_links_bench.XXXXXX";
  if (::mkdtemp(folder) == nullptr) die("no temporary folder");
  int port = listen_somewhere().port;
  processes.start(Processes::Kind::endless, [&]() -> double { execute(server.command(port, folder)); });
  server.prepare(port);
  for (int i = 0; i < kWorkers; ++i)
    processes.start(Processes::Kind::endless, [&, i] { return server.work(port, i), 0.0; });
  processes.start(Processes::Kind::timed, [&] {
    auto began = Clock::now();
    std::uint64_t sum = 0;
    server.consume(port, count, [&](std::string_view record) { sum += number_in(record); });
    if (sum != sum_up_to(count)) die("records were lost or repeated");
    return seconds_since(began);
  });
  processes.start(Processes::Kind::awaited, [&] {
    RecordMaker maker;
    server.produce(port, count, [&](std::uint64_t number) { return maker.next(number); });
    return 0.0;
  });
  Run run = processes.await();
  if (std::system(fmt::format("rm -r {}", folder).c_str()) != 0) die("a temporary folder stays");
  return run;
}

struct Contender {
  std::string name;
  std::uint64_t count;
  std::function<Run()> run;
  std::vector<double> rates = {}, cpu = {};  // records a second; seconds a million records
};

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

void race(const std::string& title, std::vector<Contender> contenders, int repeats) {
  for (int round = -1; round < repeats; ++round) {  // the first is a warm-up
    for (Contender& contender : contenders) {
      Run run = contender.run();
      if (round < 0) continue;
      contender.rates.push_back(static_cast<double>(contender.count) / run.seconds);
      contender.cpu.push_back(run.cpu / static_cast<double>(contender.count) * 1e6);
    }
  }
  fmt::print("\n{}\n", title);
  const Contender& peer = contenders.back();
  for (const Contender& contender : contenders) {
    auto [least, most] = std::ranges::minmax(contender.rates);
    fmt::print("  {:<22} {:>6.2f} M records/s [{:.2f} .. {:.2f}], {:.2f} s of CPU a million", contender.name,
               median(contender.rates) / 1e6, least / 1e6, most / 1e6, median(contender.cpu));
    if (&contender != &peer) fmt::print("   {:.2f} x {}", median(contender.rates) / median(peer.rates), peer.name);
    fmt::print("\n");
  }
}

struct Shape {
  std::string name;
  std::function<Run(std::uint64_t)> run;
};

std::vector<Shape> shapes(const net::TlsContext& tls) {
  return {
      {"pair", [](std::uint64_t count) { return run_ours(count, false, nullptr); }},
      {"pair-tls", [&](std::uint64_t count) { return run_ours(count, false, &tls); }},
      {"workers", [](std::uint64_t count) { return run_ours(count, true, nullptr); }},
      {"workers-tls", [&](std::uint64_t count) { return run_ours(count, true, &tls); }},
#ifdef SLUICE_BENCH_ZMQ
      {"zmq-pair", [](std::uint64_t count) { return run_zmq(count, false); }},
      {"zmq-workers", [](std::uint64_t count) { return run_zmq(count, true); }},
#endif
      {"redis-workers", [](std::uint64_t count) { return run_server(kRedis, count); }},
      {"jetstream-workers", [](std::uint64_t count) { return run_server(kJetStream, count); }},
  };
}

template <class MakeContender>
void race_servers(const MakeContender& contender, int repeats) {
  struct Peer {
    const Server& server;
    std::string shape, name;
  };
  for (const Peer& peer :
       {Peer{kRedis, "redis-workers", "Redis Streams"}, Peer{kJetStream, "jetstream-workers", "JetStream"}}) {
    std::string title =
        fmt::format("the same, acknowledged at each hop, beside {} in memory   goal: >= 10 x", peer.name);
    if (is_installed(peer.server.program))
      race(title, {contender("workers", "record link", 5), contender(peer.shape, peer.name, 0.4)}, repeats);
    else
      fmt::print("\n{}: {} is absent\n", title, peer.server.program);
  }
}

int run_races(double scale, const std::vector<Shape>& all) {
  auto contender = [&](const std::string& shape, const std::string& name, double millions) {
    auto count = static_cast<std::uint64_t>(std::max(0.05, millions * scale) * 1e6);
    auto found = std::ranges::find(all, shape, &Shape::name);
    return Contender{.name = name, .count = count, .run = [found, count] { return found->run(count); }};
  };
  int repeats = std::max(3, static_cast<int>(9 * scale));
#ifdef SLUICE_BENCH_ZMQ
  race("one producer, one consumer   goal: plain text >= 5 x, better 8 x; TLS >= 3 x, better 4 x",
       {contender("pair", "record link", 30), contender("pair-tls", "record link, TLS 1.3", 20),
        contender("zmq-pair", "ZeroMQ", 4)},
       repeats);
  race("one producer, four workers that send each record on, one sink   goal: >= 2.5 x, better 5 x",
       {contender("workers", "record link", 10), contender("workers-tls", "record link, TLS 1.3", 5),
        contender("zmq-workers", "ZeroMQ", 2)},
       repeats);
#else
  fmt::print("ZeroMQ is absent (libzmq3-dev)\n");
  race("one producer, one consumer",
       {contender("pair-tls", "record link, TLS 1.3", 20), contender("pair", "record link", 30)}, repeats);
  race("one producer, four workers that send each record on, one sink",
       {contender("workers-tls", "record link, TLS 1.3", 5), contender("workers", "record link", 10)}, repeats);
#endif
  race_servers(contender, repeats);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  ::signal(SIGPIPE, SIG_IGN);
  const char* given = std::getenv("SLUICE_BENCH_SCALE");
  double scale = given != nullptr ? std::atof(given) : 1;
  net::TlsContext tls = make_tls();
  auto all = shapes(tls);
  if (argc == 1) return run_races(scale, all);
  for (const Shape& shape : all) {
    if (argc != 2 || shape.name != argv[1]) continue;
    bool is_server = shape.name.starts_with("redis") || shape.name.starts_with("jetstream");
    auto count = static_cast<std::uint64_t>((is_server ? 0.5e6 : 10e6) * scale);
    Run run = shape.run(count);
    fmt::print("{:.2f} M records/s, {:.2f} s of CPU a million\n", static_cast<double>(count) / run.seconds / 1e6,
               run.cpu / static_cast<double>(count) * 1e6);
    return 0;
  }
  fmt::print(stderr,
             "usage: record_links_bench "
             "[pair|pair-tls|workers|workers-tls|zmq-pair|zmq-workers|redis-workers|jetstream-workers]\n");
  return 2;
}
