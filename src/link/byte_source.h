#pragma once
// The producer's end of a byte link on a loop: pumps a descriptor into a connection.
//
// Bytes are taken from the descriptor only when the connection has taken all before. From a pipe to a connection in plain
// text they are spliced and never seen; otherwise a batch is read, counted into the checksum, and sent.
// Threading: belongs to the loop of its seat.
#include <optional>

#include "link/byte_stream.h"
#include "link/link_port.h"
#include "link/link_pump.h"
#include "link/transfer_pipe.h"

namespace sluice::link {

class ByteSource final : public LinkPump {
 public:
  ByteSource(DataLoops::Seat seat, std::shared_ptr<LinkCore> core, const LinkOptions& options, UniqueFd from,
             net::Connection::Parts to);

 private:
  void open() override;
  Step look() override;
  Step move_some() override;
  bool say_cancelled(const std::string& reason) override;
  bool has_left() override;
  void close_all() override;
  UniqueFd take_descriptor() override;
  void enlarge_pipes(std::size_t capacity) override;

  Step obey(const ByteProducer::Answer& answer);
  Step send_batch();
  Step splice_batch();
  Step settle(const LocalStream::Outcome& outcome);
  Step say_end();
  Step fail(int error);
  Step lose(const std::string& why);
  bool say_abort(const std::string& reason);

  LocalStream::Outcome fill(std::span<std::byte> room, std::size_t& filled);
  LocalStream::Outcome fill_pipe();
  std::expected<void, LinkSocket::Broken> send_frame(const BatchBuffer& buffer, std::size_t filled);

  UniqueFd given_;  // until it is opened
  LocalStream from_;
  Readiness from_ready_;
  LinkPort to_;
  ByteProducer producer_;
  std::optional<TransferPipe> pipe_;  // between a pipe and plain text
  Alarm background_;
  bool from_ended_ = false;
  bool wanted_ = true;  // what is on its way to the consumer
};

}  // namespace sluice::link
