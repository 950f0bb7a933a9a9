#include "flow/flow_file_stage.h"

#include <fmt/format.h>

#include <algorithm>

#include "flow/flow_file_command.h"
#include "flow/flow_file_values.h"
#include "flow/pipeline_text.h"
#include "flow/record_command.h"
#include "flow/record_key.h"
#include "flow/record_stage.h"

namespace sluice::flow {
namespace {

// A sentence of pipeline text.
std::string as_of_a_key(std::string sentence) {
  constexpr std::string_view kWord = "@by=";
  for (std::size_t at = 0; (at = sentence.find(kWord, at)) != std::string::npos;) sentence.erase(at, kWord.size());
  return sentence;
}

constexpr std::uint32_t kConcurrencyMax = 65'536;  // each is a record in memory
constexpr std::size_t kNameMax = 63;
constexpr const char* kByHandCommand = "(workers that are started by hand)";  // in the place of a command
constexpr KnownNodes kAnyNode{.names = {}, .others_too = true};

constexpr std::string_view kFramings[] = {"lines", "null", "json", "len"};
constexpr std::string_view kRestarts[] = {"never", "on-failure", "always"};
constexpr std::string_view kErrorKeys[] = {"to", "slow"};

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_word_character(char c) { return is_letter(c) || (c >= '0' && c <= '9') || c == '_'; }

class StageReader final {
 public:
  StageReader(const YamlSource& source, ShellDialect dialect, FileMistakes& mistakes)
      : source_(source), dialect_(dialect), mistakes_(mistakes), values_(mistakes) {}

  ReadStage read(const YamlEntry& entry) {
    stage().name = entry.key;
    stage().place = entry.place;
    if (std::string problem = name_problem(entry.key); !problem.empty())
      mistakes_.add(entry.place, fmt::format("'{}' can't name a stage: {}", entry.key, problem));
    if (entry.value.kind != YamlNode::Kind::map) {
      values_.refuse({entry.key, entry.place, entry.value}, "a map of keys, such as { run: sort }");
      return std::move(read_);
    }
    for (const YamlEntry& key : entry.value.entries) take(key);
    judge();
    return std::move(read_);
  }

 private:
  struct Key {
    std::string_view name;
    void (StageReader::*read)(const KeyedValue& value);
  };
  static std::span<const Key> keys();

  FileStage& stage() { return read_.stage; }
  bool has(std::string_view key) const { return read_.stage.keys.contains(key); }
  TextPlace place_of(std::string_view key) const { return read_.stage.keys.find(key)->second; }

  void take(const YamlEntry& entry) {
    auto key = std::ranges::find(keys(), std::string_view(entry.key), &Key::name);
    if (key == keys().end()) {
      std::vector<std::string_view> names;
      for (const Key& known : keys()) names.push_back(known.name);
      mistakes_.add(entry.place,
                    fmt::format("unknown key '{}'{}", entry.key, spelling_help(entry.key, names, "keys of a stage")));
      return;
    }
    stage().keys.emplace(entry.key, entry.place);
    (this->*key->read)({entry.key, entry.place, entry.value});
  }

  // --- keys -------------------------------------------------------------------------------------------------------

  void run(const KeyedValue& value) {
    if (value.node.kind == YamlNode::Kind::list) return run_words(value);
    if (!values_.text(value, "a command, or a list of its words")) return;
    auto command = read_file_command(value.node.text, dialect_);
    if (!command)
      mistakes_.add(source_.place_in(value.node, command.error().offset), command.error().message);
    else
      stage().stage = *std::move(command);
  }

  void run_words(const KeyedValue& value) {
    std::vector<std::string> words;
    for (const YamlNode& item : value.node.items) {
      if (item.kind != YamlNode::Kind::text)
        return values_.refuse({value.key, value.key_place, item}, "words in its list");
      words.push_back(item.text);
    }
    if (words.empty() || words.front().empty())
      return mistakes_.add(value.place(), fmt::format("{}: the first word of the list is the program", value.key));
    stage().stage = std::move(single_command(std::move(words)).stages.front());
  }

  void worker(const KeyedValue& value) {
    stage().worker = true;
    run(value);
  }

  void role(const KeyedValue& value) {
    auto name = values_.text(value, "a name under which workers join it");
    if (!name) return;
    if (std::string problem = name_problem(*name); !problem.empty())
      return mistakes_.add(value.place(), fmt::format("'{}' can't name a role: {}", *name, problem));
    role_ = *name;
  }

  void workers(const KeyedValue& value) {
    if (auto count = values_.count(value, 1, kWorkersMax)) words_.push_back(fmt::format("@x{}", *count));
  }
  void concurrency(const KeyedValue& value) { stage().concurrency = values_.count(value, 1, kConcurrencyMax); }
  void map(const KeyedValue& value) { word_if(value, "@map"); }
  void ordered(const KeyedValue& value) { word_if(value, "@ordered"); }
  void sandbox(const KeyedValue& value) { word_if(value, "@sandbox"); }
  void share(const KeyedValue& value) { stage().share = values_.flag(value).value_or(false); }
  void reads_stdin(const KeyedValue& value) { stage().reads_stdin = values_.flag(value).value_or(false); }

  void word_if(const KeyedValue& value, const char* word) {
    if (values_.flag(value).value_or(false)) words_.emplace_back(word);
  }

  void each(const KeyedValue& value) {
    if (value.node.text == "true" || value.node.text == "false") return word_if(value, "@each");
    if (auto count = values_.count(value, 1, UINT32_MAX)) words_.push_back(fmt::format("@each={}", *count));
  }

  void framing(const KeyedValue& value) {
    // What YAML calls null is the name of a framing here.
    YamlNode node = value.node;
    if (node.kind == YamlNode::Kind::nothing && node.text == "null") node.kind = YamlNode::Kind::text;
    if (auto index = values_.choice({value.key, value.key_place, node}, kFramings))
      words_.push_back(fmt::format("@{}", kFramings[*index]));
  }

  void by(const KeyedValue& value) {
    auto field = values_.text(value, "the name of a field");
    if (!field) return;
    if (auto key = RecordKey::read(*field); !key)
      return mistakes_.add(value.place(), "by: " + as_of_a_key(key.error()));
    words_.push_back("@by=" + *field);
  }
  void image(const KeyedValue& value) {
    if (auto name = values_.text(value, "the name of an image")) words_.push_back("@image=" + *name);
  }

  void on(const KeyedValue& value) {
    std::vector<std::string> words;
    if (value.node.kind == YamlNode::Kind::map) {
      for (const YamlEntry& label : value.node.entries)
        if (auto text = values_.text({label.key, label.place, label.value}, "the value of a label"))
          words.push_back(fmt::format("@{}={}", label.key, *text));
    } else if (auto text = values_.text(value, "a node, all, here, or labels: { gpu: yes }")) {
      if (text->starts_with('@')) return mistakes_.add(value.place(), "on: a name stands here without its '@'");
      bool is_label = text->find('=') != std::string::npos;
      words.push_back(is_label || *text == "all" || *text == "here" ? "@" + *text : "@on=" + *text);
    }
    if (auto read = read_stage_words(words, kAnyNode); !read)
      mistakes_.add(value.place(), "on: " + read.error());
    else
      words_.insert(words_.begin(), words.begin(), words.end());
  }

  void env(const KeyedValue& value) {
    if (value.node.kind != YamlNode::Kind::map) return values_.refuse(value, "a map of variables, such as { LANG: C }");
    for (const YamlEntry& variable : value.node.entries) {
      bool is_name = !variable.key.empty() && std::ranges::all_of(variable.key, is_word_character) &&
                     (variable.key[0] < '0' || variable.key[0] > '9');
      if (!is_name)
        mistakes_.add(variable.place,
                      fmt::format("env: '{}' can't name a variable: it has letters, digits and '_', and "
                                  "begins with no digit",
                                  variable.key));
      if (variable.value.kind != YamlNode::Kind::text)
        values_.refuse({variable.key, variable.place, variable.value}, "a text (\"\" for an empty one)");
      else
        stage().environment.emplace_back(variable.key, variable.value.text);
    }
  }

  void retries(const KeyedValue& value) { stage().retries = values_.count(value, 0, kRetriesMax); }
  void rate(const KeyedValue& value) { stage().records_per_second = values_.rate(value); }

  void restart(const KeyedValue& value) {
    constexpr Restart kValues[] = {Restart::never, Restart::on_failure, Restart::always};
    if (auto index = values_.choice(value, kRestarts)) stage().restart = kValues[*index];
  }

  void errors(const KeyedValue& value) {
    if (value.node.kind != YamlNode::Kind::map) {
      if (auto name = values_.text(value, "the name of a stage, or { to: STAGE, slow: drop }"))
        read_.errors_to = ErrorsTo{.stage = *name, .place = value.place(), .slow = {}};
      return;
    }
    ErrorsTo to;
    for (const YamlEntry& entry : value.node.entries) {
      KeyedValue inner{entry.key, entry.place, entry.value};
      if (entry.key == "to") {
        to.stage = values_.text(inner, "the name of a stage").value_or("");
        to.place = inner.place();
      } else if (entry.key == "slow") {
        to.slow = values_.slow(inner).value_or(SlowPolicy{});
      } else {
        mistakes_.add(entry.place, fmt::format("unknown key '{}'{}", entry.key,
                                               spelling_help(entry.key, kErrorKeys, "keys of stderr")));
      }
    }
    bool named = std::ranges::find(value.node.entries, "to", &YamlEntry::key) != value.node.entries.end();
    if (!named) mistakes_.add(value.place(), "stderr: it does not say where to: { to: STAGE }");
    if (!to.stage.empty()) read_.errors_to = std::move(to);
  }

  // --- how they go together ---------------------------------------------------------------------------------------

  bool by_hand_alone() const { return has("role") && !has("run") && !has("worker"); }
  bool is_worker() const { return has("worker") || (by_hand_alone() && !has("map") && !has("each")); }

  // Workers that join are no fixed number, and run what they were started with.
  void judge_role() {
    if (!has("role")) return;
    if (by_hand_alone())
      for (const char* key : {"workers", "on", "env", "restart"})
        if (has(key))
          mistakes_.add(place_of(key), fmt::format("'{}' is for workers that the flow starts, and stage '{}' names no "
                                                   "command for them: add 'worker' or 'run'",
                                                   key, stage().name));
    if (has("run") && !has("map") && !has("each"))
      mistakes_.add(place_of("role"),
                    "'role' is for stages whose records can be given to another worker: a 'worker', "
                    "or a program with 'map: true' or 'each: true'");
    if (has("by"))
      mistakes_.add(place_of("by"),
                    "'by' chooses between a number of workers that does not change, and those of a "
                    "'role' come and go");
  }

  void judge_record_mark() {
    if (has("role") && stage().stage.shell_text.find(kRecordMark) != std::string::npos)
      mistakes_.add(place_of("role"),
                    "'{}' stands for a record in a command of the flow; workers of a 'role' read "
                    "theirs from stdin, so its own do, too");
  }

  // What the words of pipeline text would be refused for, said of keys. True: something was.
  bool judge_record_keys() {
    bool refused = false;
    auto refuse = [&](std::string_view key, std::string message) {
      refused = true;
      mistakes_.add(place_of(key), std::move(message));
    };
    auto given = [&](std::string_view word) { return std::ranges::find(words_, word) != words_.end(); };
    auto each = std::ranges::find_if(words_, [](const std::string& word) { return word.starts_with("@each"); });
    bool one_by_one = each != words_.end() && (*each == "@each" || *each == "@each=1");
    if (given("@map") && each != words_.end())
      refuse("each", "'map' and 'each' exclude each other: a program stays running or does not");
    if (given("@ordered") && !given("@map") && each == words_.end() && !is_worker())
      refuse("ordered",
             "'ordered' needs to know which output belongs to which input; add 'map: true' (one output record for each "
             "input record) or 'each: true' (a process for each record)");
    if (has("by") && !has("workers"))
      refuse("by", "'by' chooses between many workers, and the stage has one; add how many: 'workers: 4'");
    if (has("by") && each != words_.end() && !one_by_one)
      refuse("by", "'by' needs 'each: true', one record for each process: several have no one key");
    if (given("@sandbox") && has("image")) refuse("image", "'sandbox' and 'image' exclude each other");
    return refused;
  }

  void judge() {
    judge_role();
    if (has("run") == has("worker") && !by_hand_alone())
      mistakes_.add(has("run") ? place_of("worker") : stage().place,
                    fmt::format("stage '{}' has {} a 'run' {} a 'worker'; it takes one of them", stage().name,
                                has("run") ? "both" : "neither", has("run") ? "and" : "nor"));
    for (const char* key : {"map", "each"})
      if (has("worker") && has(key))
        mistakes_.add(place_of(key),
                      fmt::format("'{}' is for programs that know nothing of Sluice; a 'worker' answers each "
                                  "record by itself",
                                  key));
    if (has("concurrency") && !is_worker() && (has("run") || by_hand_alone()))
      mistakes_.add(place_of("concurrency"),
                    "'concurrency' is for a 'worker', which has several records at a time; 'workers' starts several "
                    "programs");
    // A worker says which output belongs to which input, so its order needs no other word.
    bool refused = judge_record_keys();
    bool in_order = is_worker() && std::erase(words_, "@ordered") > 0;
    auto words = read_stage_words(words_, kAnyNode);
    if (!words && !refused) mistakes_.add(stage().place, fmt::format("stage '{}': {}", stage().name, words.error()));
    if (words) stage().stage.words = *std::move(words);
    stage().worker = stage().stage.words.worker = is_worker();
    stage().stage.words.role = role_;
    stage().stage.words.by_hand_alone = by_hand_alone();
    if (by_hand_alone()) stage().stage.command = kByHandCommand;
    if (in_order) {
      stage().stage.words.ordered = true;
      stage().stage.words.written.emplace_back("@ordered");
    }
    if (by_hand_alone()) return;
    if (auto marked = mark_record(stage().stage, dialect_); !marked)
      mistakes_.add(has("run") ? place_of("run") : stage().place,
                    fmt::format("stage '{}': {}", stage().name, marked.error()));
    judge_record_mark();
  }

  const YamlSource& source_;
  ShellDialect dialect_;
  FileMistakes& mistakes_;
  ValueReader values_;
  ReadStage read_;
  std::vector<std::string> words_;  // what the keys are in pipeline text
  std::string role_;
};

std::span<const StageReader::Key> StageReader::keys() {
  static constexpr Key kKeys[] = {
      {"run", &StageReader::run},
      {"worker", &StageReader::worker},
      {"role", &StageReader::role},
      {"workers", &StageReader::workers},
      {"concurrency", &StageReader::concurrency},
      {"map", &StageReader::map},
      {"each", &StageReader::each},
      {"framing", &StageReader::framing},
      {"ordered", &StageReader::ordered},
      {"by", &StageReader::by},
      {"on", &StageReader::on},
      {"env", &StageReader::env},
      {"retries", &StageReader::retries},
      {"rate", &StageReader::rate},
      {"restart", &StageReader::restart},
      {"share", &StageReader::share},
      {"stderr", &StageReader::errors},
      {"sandbox", &StageReader::sandbox},
      {"image", &StageReader::image},
      {"stdin", &StageReader::reads_stdin},
  };
  return kKeys;
}

}  // namespace

// A number names a stage by its place (FLOW/2), and "->" links two, so neither may be read in a name.
std::string name_problem(std::string_view name) {
  bool well_formed = !name.empty() && is_letter(name[0]) &&
                     std::ranges::all_of(name, [](char c) { return is_word_character(c) || c == '-'; });
  if (!well_formed) return "it begins with a letter and has letters, digits, '_' and '-'";
  return name.size() > kNameMax ? fmt::format("it has at most {} characters", kNameMax) : "";
}

ReadStage read_file_stage(const YamlEntry& entry, const YamlSource& source, ShellDialect dialect,
                          FileMistakes& mistakes) {
  return StageReader(source, dialect, mistakes).read(entry);
}

}  // namespace sluice::flow
