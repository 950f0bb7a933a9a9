#pragma once
// Records that tests tell apart by their text.
#include <string>
#include <utility>

#include "link/record_batch.h"

namespace sluice::link {

/// Lines that are their own ids.
inline RecordBatch numbers(RecordId first, RecordId last) {
  std::string text;
  for (RecordId id = first; id <= last; ++id) text += std::to_string(id) + "\n";
  return RecordBatch::of_delimited(first, '\n', std::move(text)).value();
}

}  // namespace sluice::link
