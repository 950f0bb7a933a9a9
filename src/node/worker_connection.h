#pragma once
// Our end of the socket of one worker's process: frames in and out, without ever waiting.
// Threading: belongs to one thread.
#include <cstddef>
#include <expected>
#include <optional>
#include <string>
#include <utility>

#include "base/unique_fd.h"
#include "link/worker_frames.h"

namespace sluice::node {

class WorkerConnection final {
 public:
  /// Ours, and the worker's stdin. Errors: errno.
  static std::expected<std::pair<WorkerConnection, UniqueFd>, int> make(std::size_t record_max);
  /// Nothing is connected.
  WorkerConnection() : reader_(0) {}

  int descriptor() const { return socket_.get(); }
  bool is_open() const { return static_cast<bool>(socket_); }
  /// Nothing more comes from it.
  bool ended() const { return ended_; }

  /// What goes out is appended here, and then flushed.
  std::string& outgoing() { return outgoing_; }
  std::size_t unsent() const { return outgoing_.size() - sent_; }
  /// True: some of it was sent. A peer that is gone takes everything.
  bool flush();

  /// From now on `is_unread` tells whether the peer has read anything. Requires that it had read all before.
  void watch();
  /// Something was sent since `watch`, and the peer has read none of it.
  bool is_unread() const;

  /// Reads once. True: something came, or the end.
  bool receive();
  /// See WorkerFrameReader.
  auto next() { return reader_.next(); }
  /// What it has said counts no more.
  void drop_received() { reader_.drop(); }

 private:
  WorkerConnection(UniqueFd socket, std::size_t record_max) : socket_(std::move(socket)), reader_(record_max) {}

  // How much; what a peer that is gone takes, too.
  std::size_t send_some();
  std::size_t queued() const;

  UniqueFd socket_;
  link::WorkerFrameReader reader_;
  std::string outgoing_;
  std::size_t sent_ = 0;
  bool ended_ = false;
  std::size_t queued_ = 0;  // in the kernel when it was looked at last
  bool reads_ = true;       // since `watch`
};

}  // namespace sluice::node
