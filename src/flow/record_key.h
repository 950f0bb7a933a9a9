#pragma once
// The key of a record (`@by=FIELD`): records with the same key go to the same worker, in their order.
//
//   @by=2        the second column; of records that hold a tab, between tabs, else between commas as in CSV (RFC 4180)
//   @by=/a/0     what the JSON pointer (RFC 6901) points at
//   @by=~REGEX   what the first group of the regular expression matches, or the whole of it (POSIX extended, regex(7))
//
// A record without the field has the empty key.
// Threading: values and pure functions.
#include <cstdint>
#include <expected>
#include <memory>
#include <string>
#include <string_view>

namespace sluice::flow {

class RecordKey final {
 public:
  /// Errors: a sentence; what stands behind `@by=` is none of the three.
  static std::expected<RecordKey, std::string> read(std::string_view field);

  /// Of a record without its delimiter.
  std::string of(std::string_view record) const;
  /// Below `workers`, the same for the same key in every run.
  std::uint32_t worker_for(std::string_view record, std::uint32_t workers) const;

 private:
  struct Field;
  explicit RecordKey(std::shared_ptr<const Field> field) : field_(std::move(field)) {}
  std::shared_ptr<const Field> field_;  // copies of a key share it
};

}  // namespace sluice::flow
