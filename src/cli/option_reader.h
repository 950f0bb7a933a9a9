#pragma once
// Options of one verb: declared, read, explained. Wraps CLI11, so that no other file of the verbs needs to include it.
#include <cstddef>
#include <expected>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "cli/completion.h"
#include "cli/settings.h"
#include "cli/verbs.h"

namespace sluice::cli {

class OptionReader final {
 public:
  struct Text {
    std::string verb;         // "start", "cert issue"
    std::string description;  // a sentence or two
    std::string usage;        // "[OPTIONS] FILE"
    std::string examples;     // lines, each with its line end
  };
  explicit OptionReader(Text text);
  ~OptionReader();
  OptionReader(const OptionReader&) = delete;
  OptionReader& operator=(const OptionReader&) = delete;

  /// `names` as CLI11 has them: "-q,--quiet". The variables must outlive the reader.
  void flag(const std::string& names, bool& value, const std::string& help);
  void value(const std::string& names, std::string& value, const std::string& type, const std::string& help);
  /// May be given several times.
  void values(const std::string& names, std::vector<std::string>& values, const std::string& type,
              const std::string& help);
  /// What stands without an option: at least `least`, at most `most`; `what` names it in messages, `kind` is for completion.
  void operands(std::vector<std::string>& operands, std::size_t least, std::size_t most, const std::string& what,
                OperandKind kind = OperandKind::unknown);

  /// Reads the configuration, once the arguments are right. Options with the names of `keys` that were not given take
  /// their values from it; --no-config, where the verb has it, leaves it out.
  void settings(Settings& settings, std::vector<std::string_view> keys = {});

  /// Why the verb ends here: help was asked for (status 0, printed), or the arguments or the configuration
  /// are wrong (status 2, said).
  struct Stop {
    int status = 0;
  };
  /// Or that completion was asked for (status 0, printed).
  std::expected<void, Stop> read(const Arguments& arguments);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::cli
