#pragma once
// The consumer's end of a byte link on a loop: pumps a connection into a descriptor.
//
// Bytes are taken from the connection only when the descriptor has taken all before: a stopped reader closes TCP's window,
// and so the tap. Into a pipe, from a connection in plain text, they are spliced and never seen. The reader's end is
// noticed without writing, so that a reader's close goes up also while nothing flows.
// Threading: belongs to the loop of its seat.
#include <optional>
#include <span>

#include "link/byte_stream.h"
#include "link/link_port.h"
#include "link/link_pump.h"
#include "link/transfer_pipe.h"

namespace sluice::link {

class ByteSink final : public LinkPump {
 public:
  ByteSink(DataLoops::Seat seat, std::shared_ptr<LinkCore> core, const LinkOptions& options,
           net::Connection::Parts from, UniqueFd into);

 private:
  void open() override;
  Step look() override;
  Step move_some() override;
  bool say_cancelled(const std::string& reason) override;
  bool has_left() override;
  void close_all() override;
  UniqueFd take_descriptor() override;
  void enlarge_pipes(std::size_t capacity) override;

  Step deliver();
  Step deliver_spliced();
  Step settle(const LocalStream::Outcome& outcome);
  Step take_frames();
  Step obey(const ByteConsumer::Step& step);
  Step receive();
  Step receive_spliced();
  Step await_input();
  Step say_done();
  Step say_closed();
  Step fail(int error);
  Step lose(const std::string& why);
  bool say(const std::string& last_frame);

  LinkPort from_;
  UniqueFd given_;  // until it is opened
  LocalStream into_;
  Readiness into_ready_;
  ByteConsumer consumer_;
  BatchBuffer buffer_;                  // while there are bytes in hand
  std::span<const std::byte> frames_;   // of buffer_: not looked at yet
  std::span<const std::byte> payload_;  // of buffer_: not delivered yet
  std::optional<TransferPipe> pipe_;    // between plain text and a pipe
};

}  // namespace sluice::link
