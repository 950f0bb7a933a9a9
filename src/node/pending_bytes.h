#pragma once
// What is to be written to one stream, in order, and that has not been taken yet.
// Threading: a value.
#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "link/local_stream.h"

namespace sluice::node {

class PendingBytes final {
 public:
  void add(std::string_view bytes) {
    if (begin_ == bytes_.size()) clear();
    bytes_.append(bytes);
  }
  std::size_t size() const { return bytes_.size() - begin_; }
  bool empty() const { return size() == 0; }
  void clear() {
    bytes_.clear();
    begin_ = 0;
  }
  /// False: nobody reads there.
  bool write_to(link::LocalStream& stream) {
    while (!empty()) {
      auto outcome = stream.write_some(std::as_bytes(std::span(bytes_).subspan(begin_)));
      if (outcome.status == link::LocalStream::Status::would_block) return true;
      if (outcome.status != link::LocalStream::Status::moved) return false;
      begin_ += outcome.bytes;
    }
    clear();
    return true;
  }

 private:
  std::string bytes_;
  std::size_t begin_ = 0;
};

}  // namespace sluice::node
