// How fast a byte link carries a stream between two processes on one host, beside what people would use instead.
//
//   byte_link_pair                      races link and peers: producer | end -> TCP on loopback -> end | consumer
//   byte_link_pair source PORT [DIR]    the producer's end: stdin to 127.0.0.1:PORT; with TLS if DIR holds credentials
//   byte_link_pair sink PORT [DIR]      the consumer's end: accepts one connection at PORT, to stdout
//
// Every figure is the median of several runs; the runs of the contenders take turns. CPU is that of all four processes of a
// shape, and the share of the two in the middle is what ours and the peers' differ in. SLUICE_BENCH_SCALE=0.1 makes it a
// quick look.
#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <vector>

#include "link/byte_link.h"
#include "net/tls.h"

namespace {

namespace net = sluice::net;
namespace link = sluice::link;
using sluice::UniqueFd;

[[noreturn]] void die(const std::string& why) {
  fmt::print(stderr, "byte_link_pair: {}\n", why);
  std::exit(1);
}

// ---- the two ends -----------------------------------------------------------------------------------------------

std::string read_file(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

sockaddr_in loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

UniqueFd connect_to(int port) {
  sockaddr_in address = loopback(port);
  for (int attempt = 0; attempt < 500; ++attempt) {
    UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) return socket;
    ::poll(nullptr, 0, 10);  // the other process is not ready yet
  }
  die(fmt::format("nobody listens on port {}", port));
}

UniqueFd accept_at(int port) {
  sockaddr_in address = loopback(port);
  UniqueFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  int on = 1;
  ::setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
    die(fmt::format("port {} is taken", port));
  ::listen(listener.get(), 1);
  return UniqueFd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
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

net::Connection::Parts parts_of(UniqueFd socket, bool dialled, const char* folder) {
  net::Connection::Parts parts;
  if (folder != nullptr) {
    std::string place = folder;
    auto context = net::TlsContext::make({.certificate_pem = read_file(place + "/node.pem"),
                                          .private_key_pem = read_file(place + "/node.key"),
                                          .authority_pems = {read_file(place + "/authority.pem")}});
    if (!context) die(context.error().message);
    parts.tls = dialled ? context->client() : context->server();
    shake_hands(socket.get(), *parts.tls);
  }
  parts.socket = std::move(socket);
  return parts;
}

int run_end(bool source, int port, const char* folder) {
  ::signal(SIGPIPE, SIG_IGN);
  boost::asio::io_context owner;
  auto work = boost::asio::make_work_guard(owner);
  link::DataLoops loops;
  std::optional<link::LinkEnd> end;
  link::LinkOptions options{.owner = owner.get_executor(), .descriptor_is_ours = true};
  auto parts = parts_of(source ? connect_to(port) : accept_at(port), source, folder);
  auto on_end = [&](link::LinkEnd how) { end = std::move(how); };
  auto running = source ? link::start_source(loops, UniqueFd(::dup(0)), std::move(parts), options, on_end)
                        : link::start_sink(loops, std::move(parts), UniqueFd(::dup(1)), options, on_end);
  // The link has descriptors of its own; ours would keep the pipes open behind its back.
  ::close(source ? 0 : 1);
  while (!end) owner.run_one();
  loops.close();
  if (end->kind != link::LinkEnd::Kind::ended) die(end->message);
  return 0;
}

// ---- the race ---------------------------------------------------------------------------------------------------

struct Contender {
  std::string name;
  std::string needs;  // a program
  std::string sink;   // commands of a shell; PORT stands for a port
  std::string source;
  std::vector<double> seconds;
  std::vector<double> cpu_all;
  std::vector<double> cpu_middle;
};

double to_seconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
}

std::string replaced(std::string text, const std::string& what, const std::string& by) {
  for (std::size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += by.size())
    text.replace(at, what.size(), by);
  return text;
}

int free_port() {
  sockaddr_in address = loopback(0);
  UniqueFd socket(::socket(AF_INET, SOCK_STREAM, 0));
  ::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address);
  socklen_t size = sizeof address;
  ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &size);
  return ntohs(address.sin_port);
}

pid_t start(const std::string& command, int input, int output) {
  pid_t child = ::fork();
  if (child != 0) return child;
  if (input >= 0) ::dup2(input, 0);
  if (output >= 0) ::dup2(output, 1);
  ::execl("/bin/sh", "sh", "-c", ("exec " + command).c_str(), static_cast<char*>(nullptr));
  ::_exit(127);
}

bool listens(int port) {
  std::string wanted = fmt::format(":{:04X} 00000000:0000 0A", port);
  return read_file("/proc/net/tcp").find(wanted) != std::string::npos;
}

// Awaits `child` and says what it used.
double cpu_of(pid_t child, const std::string& command) {
  rusage usage{};
  int status = 0;
  if (::wait4(child, &status, 0, &usage) != child || status != 0)
    die(fmt::format("'{}' failed with wait status {}", command, status));
  return to_seconds(usage.ru_utime) + to_seconds(usage.ru_stime);
}

void run_once(Contender& contender, const std::string& producer, const std::string& consumer, bool counted) {
  std::string port = std::to_string(free_port());
  std::string sink = replaced(contender.sink, "PORT", port), source = replaced(contender.source, "PORT", port);
  int down[2], up[2];
  if (::pipe2(down, O_CLOEXEC) != 0 || ::pipe2(up, O_CLOEXEC) != 0) die("no pipe");
  pid_t consumer_pid = start(consumer, down[0], -1);
  pid_t sink_pid = start(sink, -1, down[1]);
  while (!listens(std::stoi(port))) ::poll(nullptr, 0, 1);
  auto began = std::chrono::steady_clock::now();
  pid_t source_pid = start(source, up[0], -1);
  pid_t producer_pid = start(producer, -1, up[1]);
  for (int end : {down[0], down[1], up[0], up[1]}) ::close(end);
  double outer = cpu_of(producer_pid, producer), middle = cpu_of(source_pid, source);
  middle += cpu_of(sink_pid, sink);
  outer += cpu_of(consumer_pid, consumer);
  double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  if (!counted) return;
  contender.seconds.push_back(seconds);
  contender.cpu_all.push_back(outer + middle);
  contender.cpu_middle.push_back(middle);
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

bool found(const std::string& program) {
  for (const char* folder : {"/bin/", "/usr/bin/", "/usr/local/bin/"})
    if (::access((folder + program).c_str(), X_OK) == 0) return true;
  return program.empty();
}

void race(const std::string& title, std::vector<Contender> contenders, double gigabytes, int repeats,
          const std::string& goal) {
  std::string producer =
      fmt::format("dd if=/dev/zero bs=128k count={} status=none", std::lround(gigabytes * 1e9 / 131072));
  for (int run = -1; run < repeats; ++run)  // the first is a warm-up
    for (Contender& contender : contenders)
      if (found(contender.needs)) run_once(contender, producer, "cat > /dev/null", run >= 0);
  fmt::print("\n{}, {:.1f} GB   goal: {}\n", title, gigabytes, goal);
  const Contender& ours = contenders.front();
  for (const Contender& contender : contenders) {
    if (!found(contender.needs)) {
      fmt::print("  {:<18} absent\n", contender.name);
      continue;
    }
    auto [least, most] = std::ranges::minmax(contender.seconds);
    fmt::print(
        "  {:<18} {:>5.2f} GB/s [{:.2f} .. {:.2f}]  CPU s/GB: {:.2f} all, {:.2f} the two ends   link is {:.2f} x, its "
        "CPU {:.2f} x all, {:.2f} x the ends\n",
        contender.name, gigabytes / median(contender.seconds), gigabytes / most, gigabytes / least,
        median(contender.cpu_all) / gigabytes, median(contender.cpu_middle) / gigabytes,
        median(contender.seconds) / median(ours.seconds), median(ours.cpu_all) / median(contender.cpu_all),
        median(ours.cpu_middle) / median(contender.cpu_middle));
  }
}

// A throwaway authority and one certificate of it, for us and for socat.
std::string make_credentials() {
  char folder[] = "/tmp/byte_link_pair.XXXXXX";
  if (::mkdtemp(folder) == nullptr) die("no temporary folder");
  std::string script = R"(cd "$0" && exec >/dev/null 2>&1 &&
    openssl req -x509 -newkey ed25519 -nodes -days 2 -keyout authority.key -out authority.pem -subj /CN=bench \
      -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign &&
    openssl req -newkey ed25519 -nodes -keyout node.key -out node.csr -subj /CN=n1 &&
    echo subjectAltName=URI:sluice:role:node,URI:sluice:node:000102030405060708090a0b0c0d0e0f > names &&
    openssl x509 -req -in node.csr -CA authority.pem -CAkey authority.key -days 2 -set_serial 17 -extfile names \
      -out node.pem && cat node.key node.pem > both.pem)";
  std::string command = "/bin/sh -c '" + script + "' " + folder;
  if (std::system(command.c_str()) != 0) die("openssl makes no certificates");
  return folder;
}

int run_race(const std::string& self) {
  const char* given = std::getenv("SLUICE_BENCH_SCALE");
  double scale = given != nullptr ? std::atof(given) : 1;
  double gigabytes = std::max(0.5, 8 * scale);
  int repeats = std::max(3, static_cast<int>(7 * scale));
  std::string folder = make_credentials();

  race("plain text",
       {{.name = "byte link", .sink = self + " sink PORT", .source = self + " source PORT"},
        {.name = "socat -b 131072",
         .needs = "socat",
         .sink = "socat -u -b 131072 TCP-LISTEN:PORT,bind=127.0.0.1 STDOUT",
         .source = "socat -u -b 131072 STDIN TCP:127.0.0.1:PORT"},
        {.name = "socat -b 1048576",
         .needs = "socat",
         .sink = "socat -u -b 1048576 TCP-LISTEN:PORT,bind=127.0.0.1 STDOUT",
         .source = "socat -u -b 1048576 STDIN TCP:127.0.0.1:PORT"},
        {.name = "nc", .needs = "nc", .sink = "nc -N -l 127.0.0.1 PORT < /dev/null", .source = "nc -N 127.0.0.1 PORT"},
        {.name = "mbuffer",
         .needs = "mbuffer",
         .sink = "mbuffer -q -I 127.0.0.1:PORT",
         .source = "mbuffer -q -O 127.0.0.1:PORT"}},
       gigabytes, repeats, ">= 1.3 x the best, at <= 0.75 x its CPU");
  std::string socat_tls = "verify=0,openssl-min-proto-version=TLS1.3";
  race("TLS 1.3",
       {{.name = "byte link", .sink = self + " sink PORT " + folder, .source = self + " source PORT " + folder},
        {.name = "socat -b 8192",
         .needs = "socat",
         .sink =
             fmt::format("socat -u OPENSSL-LISTEN:PORT,bind=127.0.0.1,cert={}/both.pem,{} STDOUT", folder, socat_tls),
         .source = fmt::format("socat -u STDIN OPENSSL:127.0.0.1:PORT,{}", socat_tls)},
        {.name = "socat -b 131072",
         .needs = "socat",
         .sink = fmt::format("socat -u -b 131072 OPENSSL-LISTEN:PORT,bind=127.0.0.1,cert={}/both.pem,{} STDOUT", folder,
                             socat_tls),
         .source = fmt::format("socat -u -b 131072 STDIN OPENSSL:127.0.0.1:PORT,{}", socat_tls)}},
       gigabytes / 2, repeats, ">= 1.25 x socat, better 1.4 x, at <= 0.85 x its CPU");
  return std::system(("rm -r " + folder).c_str());
}

}  // namespace

int main(int argc, char** argv) {
  std::string mode = argc > 1 ? argv[1] : "";
  if (argc == 1) return run_race(argv[0]);
  if ((mode == "source" || mode == "sink") && argc <= 4)
    return run_end(mode == "source", std::atoi(argv[2]), argc == 4 ? argv[3] : nullptr);
  fmt::print(stderr, "usage: byte_link_pair [source|sink PORT [CREDENTIALS]]\n");
  return 2;
}
