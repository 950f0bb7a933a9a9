#include "flow/stage_words.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <set>
#include <string_view>

#include "base/spelling.h"
#include "flow/record_key.h"

namespace sluice::flow {
namespace {

constexpr StageWordHelp kHelp[] = {
    {"@x8", "eight workers that share the records between them"},
    {"@all", "one worker on every node"},
    {"@NODE", "on that node"},
    {"@on=NODE", "on that node, whatever its name"},
    {"@KEY=VALUE", "on a node with that label"},
    {"@here", "on the machine where sluice was called"},
    {"@map", "one output record for each input record, in order; runs again if lost"},
    {"@each", "a fresh process for every record"},
    {"@each=100", "a fresh process for every 100 records"},
    {"@lines", "records are lines (the default)"},
    {"@null", "records end with a NUL byte"},
    {"@json", "records are JSON values"},
    {"@len", "records carry their length"},
    {"@ordered", "output in the order of the input"},
    {"@by=FIELD", "records with the same key go to the same worker"},
    {"@sandbox", "isolated from the host"},
    {"@image=NAME", "in a container of that image"},
    {"@fn", "the rest names a function"},
};

// The words that stand for themselves, for spelling help.
const std::vector<std::string> kPlainWords = {"@all", "@here",    "@map", "@each",    "@lines", "@null", "@json",
                                              "@len", "@ordered", "@by",  "@sandbox", "@image", "@fn",   "@on"};

using Refusal = std::unexpected<std::string>;

std::optional<std::uint32_t> read_count(std::string_view digits, std::uint32_t most) {
  std::uint32_t count = 0;
  auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), count);
  if (error != std::errc() || end != digits.data() + digits.size() || count == 0 || count > most) return std::nullopt;
  return count;
}

bool looks_like_workers(std::string_view name) {
  return name.size() > 1 && name[0] == 'x' &&
         std::all_of(name.begin() + 1, name.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// How the word of an own key is written: "@by=FIELD".
std::string form_of(std::string_view key) {
  std::string begin = fmt::format("@{}=", key);
  auto help = std::ranges::find_if(
      kHelp, [&](const StageWordHelp& each) { return std::string_view(each.word).starts_with(begin); });
  return help == std::end(kHelp) ? "@KEY=VALUE" : std::string(help->word);
}

std::string unknown_word(const std::string& word, std::span<const std::string> nodes) {
  std::string message = fmt::format("'{}' is no @ word and no known node{}", word, did_you_mean_word(word, nodes));
  message += nodes.empty() ? "; no node is known here" : fmt::format("; nodes: {}", fmt::join(nodes, ", "));
  message += "; words: @x8 @NODE @on=NODE @KEY=VALUE ";
  return message + fmt::format("{}; for a command of that name write '\\{}'", fmt::join(kPlainWords, " "), word);
}

class Reader final {
 public:
  explicit Reader(const KnownNodes& nodes) : nodes_(nodes) {}

  std::expected<void, std::string> read(const std::string& word) {
    read_.written.push_back(word);
    std::string_view body = std::string_view(word).substr(1);
    std::size_t equals = body.find('=');
    std::string_view name = body.substr(0, equals);
    bool repeatable = equals != std::string_view::npos && !is_own_key(name);  // several labels narrow the choice
    if (!repeatable && !seen_.insert(std::string(name)).second)
      return Refusal(fmt::format("'{}' is given twice", word));
    if (equals == std::string_view::npos) return read_plain(word, name);
    return read_pair(word, name, body.substr(equals + 1));
  }

  StageWords take() { return std::move(read_); }

 private:
  static bool is_own_key(std::string_view key) { return key == "on" || key == "each" || key == "by" || key == "image"; }

  std::expected<void, std::string> read_plain(const std::string& word, std::string_view name) {
    if (looks_like_workers(name)) {
      if (read_.workers)
        return Refusal(fmt::format("'{}': the stage has a number of workers already, {}", word, *read_.workers));
      read_.workers = read_count(name.substr(1), kWorkersMax);
      if (!read_.workers) return Refusal(fmt::format("'{}': a stage has 1 to {} workers", word, kWorkersMax));
      return {};
    }
    if (name == "all") return place(word, {.kind = Whereabouts::Kind::every_node});
    if (name == "here") return place(word, {.kind = Whereabouts::Kind::here});
    if (name == "map") return set(read_.map);
    if (name == "ordered") return set(read_.ordered);
    if (name == "sandbox") return set(read_.sandbox);
    if (name == "fn") return set(read_.function);
    if (name == "each") {
      read_.each = 1;
      return {};
    }
    if (name == "lines") return frame(word, RecordFraming::lines);
    if (name == "null") return frame(word, RecordFraming::null);
    if (name == "json") return frame(word, RecordFraming::json);
    if (name == "len") return frame(word, RecordFraming::len);
    if (name == "on" || name == "by" || name == "image")
      return Refusal(fmt::format("'{}' needs a value: {}", word, form_of(name)));
    if (nodes_.others_too || std::ranges::find(nodes_.names, name) != nodes_.names.end())
      return place(word, {.kind = Whereabouts::Kind::node, .node = std::string(name)});
    return Refusal(unknown_word(word, nodes_.names));
  }

  std::expected<void, std::string> read_pair(const std::string& word, std::string_view key, std::string_view value) {
    if (key.empty() || value.empty())
      return Refusal(
          fmt::format("'{}' needs {}: {}", word, is_own_key(key) ? "a value" : "a name and a value", form_of(key)));
    if (key == "on" && is_reserved_word(value))
      return Refusal(fmt::format("'{}': no node can have that name, it is an @ word", word));
    if (key == "on") return place(word, {.kind = Whereabouts::Kind::node, .node = std::string(value)});
    if (key == "each") {
      read_.each = read_count(value, UINT32_MAX);
      if (!read_.each) return Refusal(fmt::format("'{}': records a process must be a number from 1", word));
      return {};
    }
    if (key == "by") {
      read_.by = value;
      return {};
    }
    if (key == "image") {
      read_.image = value;
      return {};
    }
    if (is_reserved_word(key)) return Refusal(fmt::format("'{}': @{} takes no value", word, key));
    if (read_.where.kind == Whereabouts::Kind::label) {
      read_.where.labels.emplace_back(key, value);
      return {};
    }
    return place(word, {.kind = Whereabouts::Kind::label, .labels = {{std::string(key), std::string(value)}}});
  }

  std::expected<void, std::string> place(const std::string& word, Whereabouts where) {
    if (read_.where.kind != Whereabouts::Kind::beside_neighbour)
      return Refusal(fmt::format("'{}': the stage has a place already, {}", word, place_word_));
    read_.where = std::move(where);
    place_word_ = word;
    return {};
  }

  std::expected<void, std::string> frame(const std::string& word, RecordFraming framing) {
    if (read_.framing) return Refusal(fmt::format("'{}': the stage has a record framing already", word));
    read_.framing = framing;
    return {};
  }

  static std::expected<void, std::string> set(bool& flag) {
    flag = true;
    return {};
  }

  const KnownNodes& nodes_;
  StageWords read_;
  std::string place_word_;
  std::set<std::string> seen_;
};

std::string needs(std::string_view word, std::string_view what) {
  return fmt::format("'{}' needs {}, which this version does not have yet", word, what);
}

bool is_framing(std::string_view word) {
  return word == "@lines" || word == "@null" || word == "@json" || word == "@len";
}

// Words that say something of records, where the stage takes none, or none in that way.
std::expected<void, std::string> judge_record_words(const StageWords& words) {
  bool answers = words.map || words.each;
  if (words.ordered && !answers)
    return Refusal(
        "'@ordered' needs to know which output belongs to which input: add @map (one output record for each input "
        "record) "
        "or @each (a process for each record)");
  if (!words.by) return {};
  std::string by = "@by=" + *words.by;
  if (!words.workers)
    return Refusal(
        fmt::format("'{}' chooses between many workers, and the stage has one; say how many: @x4 {}", by, by));
  if (words.each.value_or(1) > 1)
    return Refusal(fmt::format("'{}' and '@each={}' exclude each other: a batch of several records has no one key", by,
                               *words.each));
  if (auto key = RecordKey::read(*words.by); !key) return Refusal(key.error());
  return {};
}

std::string needs_a_node(std::string_view word) {
  return fmt::format(
      "'{}' needs a cluster, and no node was found; `sluice start` or `sluice dev` starts one, --node names one", word);
}

}  // namespace

std::expected<StageWords, std::string> read_stage_words(std::span<const std::string> words, const KnownNodes& nodes) {
  Reader reader(nodes);
  for (const std::string& word : words)
    if (auto read = reader.read(word); !read) return Refusal(read.error());
  StageWords result = reader.take();
  if (result.map && result.each)
    return Refusal("'@map' and '@each' exclude each other: a stage stays running or does not");
  if (result.sandbox && result.image) return Refusal("'@sandbox' and '@image' exclude each other");
  if (auto judged = judge_record_words(result); !judged) return Refusal(judged.error());
  return result;
}

bool is_record_word(std::string_view word) {
  constexpr std::string_view kWords[] = {"@map", "@each", "@ordered"};
  return looks_like_workers(word.substr(1)) || is_framing(word) ||
         std::ranges::find(kWords, word) != std::end(kWords) || word.starts_with("@each=") || word.starts_with("@by=");
}

bool is_reserved_word(std::string_view name) {
  return looks_like_workers(name) || std::ranges::find(kPlainWords, "@" + std::string(name)) != kPlainWords.end();
}

std::string did_you_mean_word(const std::string& word, std::span<const std::string> nodes) {
  std::vector<std::string> known = kPlainWords;
  for (const std::string& node : nodes) known.push_back("@" + node);
  if (word.starts_with("@X") && looks_like_workers("x" + word.substr(2))) known.insert(known.begin(), "@x" + word.substr(2));
  return did_you_mean(word, known);
}

std::span<const StageWordHelp> stage_word_help() { return kHelp; }

std::span<const std::string> plain_stage_words() { return kPlainWords; }

std::optional<std::string> needs_cluster(const StageWords& words) {
  using Kind = Whereabouts::Kind;
  if (words.where.kind == Kind::every_node) return needs_a_node("@all");
  if (words.where.kind == Kind::node) {
    std::string long_form = "@on=" + words.where.node;
    bool was_long = std::ranges::find(words.written, long_form) != words.written.end();
    return needs_a_node(was_long ? long_form : "@" + words.where.node);
  }
  if (words.where.kind == Kind::label)
    return needs_a_node(fmt::format("@{}={}", words.where.labels[0].first, words.where.labels[0].second));
  return std::nullopt;
}

std::optional<std::string> not_yet_built(const StageWords& words) {
  if (words.function) return needs("@fn", "functions");
  if (words.sandbox) return needs("@sandbox", "sandboxes");
  if (words.image) return needs("@image=" + *words.image, "containers");
  return std::nullopt;
}

std::optional<std::string> not_yet_runnable(const StageWords& words) {
  if (auto reason = not_yet_built(words)) return reason;
  for (const std::string& word : words.written)
    if (is_framing(word) && !takes_records(words))
      return fmt::format(
          "'{}' says how records are told apart, and a stage of one worker takes bytes; "
          "leave it out, or spread the stage: @x2 {}",
          word, word);
  return std::nullopt;
}

}  // namespace sluice::flow
