// Any bytes, in any pieces, as what a worker says to its stage: the reader and the decoders answer, and what they say
// holds. The first byte chooses how the rest is cut into pieces.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "link/worker_frames.h"
#include "require.h"

namespace {

using namespace sluice::link;
using sluice::fuzz::require;

constexpr std::size_t kRecordMax = 64;

std::string summary_of(const WorkerFrame& frame) {
  std::string text = std::to_string(static_cast<int>(frame.kind)) + ":";
  auto fails = [](const std::string& error) {
    require(!error.empty(), "an error says what is wrong");
    return "?" + error;
  };
  switch (frame.kind) {
    case WorkerFrameKind::hello: {
      auto hello = decode_worker_hello(frame.body);
      return text + (hello ? hello->role + "|" + hello->library : fails(hello.error()));
    }
    case WorkerFrameKind::credit: {
      auto credit = decode_worker_credit(frame.body);
      return text + (credit ? std::to_string(credit->records) : fails(credit.error()));
    }
    case WorkerFrameKind::outputs: {
      auto outputs = decode_worker_outputs(frame.body, kRecordMax);
      if (!outputs) return text + fails(outputs.error());
      std::size_t count = 0;
      outputs->for_each([&](RecordId id, std::string_view record) {
        require(record.size() <= kRecordMax, "a record is bounded");
        text += std::to_string(id) + "=" + std::string(record) + ";";
        ++count;
      });
      require(count == outputs->count() && count > 0, "as many as it says");
      return text;
    }
    case WorkerFrameKind::done: {
      auto ranges = decode_worker_done(frame.body);
      if (!ranges) return text + fails(ranges.error());
      for (const WorkerRange& range : *ranges) require(range.count > 0, "a range has a record");
      return text + std::to_string(ranges->size());
    }
    case WorkerFrameKind::fail: {
      auto failure = decode_worker_failure(frame.body);
      return text + (failure ? std::to_string(failure->record) + failure->reason : fails(failure.error()));
    }
    default:
      return text;
  }
}

std::vector<std::string> read(std::string_view bytes, std::size_t piece) {
  WorkerFrameReader reader(kRecordMax);
  std::vector<std::string> found;
  while (!bytes.empty()) {
    auto room = reader.room();
    require(!room.empty(), "there is room");
    std::size_t size = std::min({piece, bytes.size(), room.size()});
    std::memcpy(room.data(), bytes.data(), size);
    bytes.remove_prefix(size);
    reader.on_bytes(size);
    while (true) {
      auto frame = reader.next();
      if (!frame) {
        found.push_back(frame.error());
        return found;
      }
      if (!*frame) break;
      found.push_back(summary_of(**frame));
    }
  }
  return found;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1) return 0;
  std::string_view bytes(reinterpret_cast<const char*>(data + 1), size - 1);
  auto whole = read(bytes, size);
  auto pieces = read(bytes, 1 + data[0] % 32);
  // A frame may come whole before bytes that are refused have come.
  bool same = pieces == whole;
  require(same, "how the bytes are cut changes nothing");
  return 0;
}
