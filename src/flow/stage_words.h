#pragma once
// The `@` words at the start of a stage: how it runs and where (docs/pipelines.md lists them).
// Threading: pure functions.
#include <cstdint>
#include <expected>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "link/record_framing.h"

namespace sluice::flow {

using link::RecordFraming;

/// Where the user wants a stage.
struct Whereabouts {
  enum class Kind { beside_neighbour, here, every_node, node, label };
  Kind kind = Kind::beside_neighbour;
  std::string node;                                         // for `node`
  std::vector<std::pair<std::string, std::string>> labels;  // for `label`: all of them
};

struct StageWords {
  Whereabouts where;
  std::optional<std::uint32_t> workers;  // @x8
  bool map = false;
  bool worker = false;                // of a flow file: it is linked with the library
  std::string role;                   // likewise: the name under which workers that are started by hand join it
  bool by_hand_alone = false;         // it has no others
  std::optional<std::uint32_t> each;  // records a process; @each is 1
  std::optional<RecordFraming> framing;
  bool ordered = false;
  std::optional<std::string> by;
  bool sandbox = false;
  std::optional<std::string> image;
  bool function = false;
  std::vector<std::string> written;  // as the user wrote them, for messages
};

/// It takes records, and not bytes.
inline bool takes_records(const StageWords& words) { return words.workers || words.map || words.each || words.worker; }

/// Workers of one stage at most: each is a process.
inline constexpr std::uint32_t kWorkersMax = 10'000;
inline constexpr std::uint32_t kRetriesMax = 1000;  // of one record

/// The names of nodes that a reader of words knows. A client that has a cluster to ask leaves an unknown word to it.
struct KnownNodes {
  std::span<const std::string> names;
  bool others_too = false;  // any word that is no other may be a node's name
};

/// `words` are whole, the `@` included.
/// Errors: an unknown word (with its nearest), a malformed value, a word given twice, two places for one stage.
std::expected<StageWords, std::string> read_stage_words(std::span<const std::string> words, const KnownNodes& nodes);

/// `word`, of a stage that takes records, says how it does that, and not where it runs.
bool is_record_word(std::string_view word);

/// Whether pipeline text reads `@NAME` as a word of its own, so that no node and no label key can have that name.
bool is_reserved_word(std::string_view name);

/// Every word, as help and completion list them.
struct StageWordHelp {
  const char* word;
  const char* meaning;
};
std::span<const StageWordHelp> stage_word_help();

/// "; did you mean '@each'?", of the @ words and these nodes, or nothing.
std::string did_you_mean_word(const std::string& word, std::span<const std::string> nodes);

/// The words that stand for themselves, such as `@all`, for spelling help.
std::span<const std::string> plain_stage_words();

/// Why this build cannot run a stage with these words yet, or nothing. It names the word.
std::optional<std::string> not_yet_built(const StageWords& words);
/// The same, or that a word means nothing to a stage whose neighbours take its bytes as they come.
std::optional<std::string> not_yet_runnable(const StageWords& words);
/// Why a flow on this machine alone cannot run it, beyond that: the word that needs a cluster.
std::optional<std::string> needs_cluster(const StageWords& words);

}  // namespace sluice::flow
