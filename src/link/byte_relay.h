#pragma once
// A node between the two ends of a byte link, for ends that can't reach each other: passes on the frames of both directions
// unchanged, as fast as the consumer's connection takes them.
//
// It reads the frames to know how the link ends: a connection that breaks before the last word is a cut for both sides.
// Threading: belongs to the loop of its seat.
#include <optional>

#include "link/byte_frames.h"
#include "link/link_port.h"
#include "link/link_pump.h"

namespace sluice::link {

class ByteRelay final : public LinkPump {
 public:
  ByteRelay(DataLoops::Seat seat, std::shared_ptr<LinkCore> core, const LinkOptions& options,
            net::Connection::Parts producer, net::Connection::Parts consumer);

 private:
  void open() override {}
  Step look() override;
  Step move_some() override;
  bool say_cancelled(const std::string& reason) override;
  bool has_left() override;
  void close_all() override;

  Step pass_answer_up(std::span<const std::byte> bytes);
  Step obey(const ByteFrameDecoder::Event& answer);
  Step pass_down(std::span<const std::byte> bytes);
  Step finish(LinkEnd::Kind kind, std::string message);
  Step lose(const std::string& why);
  Step broke_protocol(const LinkPort& port, const std::string& why);

  LinkPort producer_;
  LinkPort consumer_;
  ByteFrameDecoder down_{ByteFrameDecoder::Sender::producer};
  ByteFrameDecoder up_{ByteFrameDecoder::Sender::consumer};
  bool producer_left_ = false;
  bool consumer_left_ = false;
  bool losing_ = false;
};

}  // namespace sluice::link
