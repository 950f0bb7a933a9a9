#pragma once
// A client's connection to a server that record links are compared with: what is said is gathered until it is flushed, what
// comes is read in large pieces. Every error ends the program.
#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <string>
#include <string_view>
#include <thread>

#include "base/unique_fd.h"

namespace sluice::bench {

class PeerConnection final {
 public:
  /// Tries again until the server that was just started answers.
  PeerConnection(std::string name, int port) : name_(std::move(name)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (int tries = 0; tries < 500; ++tries) {
      socket_ = UniqueFd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
      if (::connect(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) {
        int on = 1;
        ::setsockopt(socket_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        return;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    die("cannot be reached");
  }

  void say(std::string_view text) { out_.append(text); }
  void flush() {
    std::string_view rest = out_;
    while (!rest.empty()) {
      ssize_t sent = ::send(socket_.get(), rest.data(), rest.size(), MSG_NOSIGNAL);
      if (sent <= 0) die("closed its connection");
      rest.remove_prefix(static_cast<std::size_t>(sent));
    }
    out_.clear();
  }

  /// Nothing of what came is left: the next read waits for the server.
  bool would_wait() const { return begin_ == in_.size(); }
  /// Up to and without the next CR LF. Valid until the next read.
  std::string_view line() {
    while (true) {
      std::size_t end = in_.find("\r\n", begin_);
      if (end != std::string::npos) {
        std::string_view line = std::string_view(in_).substr(begin_, end - begin_);
        begin_ = end + 2;
        return line;
      }
      fill();
    }
  }
  /// So many bytes, and a CR LF behind them that is dropped.
  std::string_view bytes(std::size_t size) {
    while (in_.size() - begin_ < size + 2) fill();
    std::string_view found = std::string_view(in_).substr(begin_, size);
    begin_ += size + 2;
    return found;
  }

  [[noreturn]] void die(std::string_view why) const {
    fmt::print(stderr, "{}: {}\n", name_, why);
    std::_Exit(1);
  }

 private:
  void fill() {
    in_.erase(0, std::exchange(begin_, 0));
    std::size_t had = in_.size();
    in_.resize(had + (std::size_t{256} << 10));
    ssize_t got = ::recv(socket_.get(), in_.data() + had, in_.size() - had, 0);
    if (got <= 0) die("closed its connection");
    in_.resize(had + static_cast<std::size_t>(got));
  }

  std::string name_;
  UniqueFd socket_;
  std::string out_, in_;
  std::size_t begin_ = 0;
};

}  // namespace sluice::bench
