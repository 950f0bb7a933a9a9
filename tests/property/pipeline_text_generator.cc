#include "property/pipeline_text_generator.h"

#include <cstdlib>

namespace sluice::flow {

// Writes the text and, beside it, what each stage is expected to be. It follows the one rule that is hard to see from
// the text: the bodies of here-documents come at the next line break, whichever stage that is in.
class PipelineTextGenerator::Writer {
 public:
  void begin_stage() { stage_.clear(); }

  void write(std::string_view part) {
    text_ += part;
    stage_ += part;
  }

  /// A space or a comment that belongs to no stage.
  void write_between(std::string_view part) { text_ += part; }

  void add_here_document(std::string_view operation, std::string body) {
    write(operation);
    bodies_.push_back({result_.stages.size(), std::move(body)});
    result_.has_here_documents = true;
  }

  /// A line break inside the stage that is being written.
  void break_line() {
    text_ += '\n';
    stage_ += '\n';
    stage_ += take_bodies(result_.stages.size());
  }

  void end_stage(bool joins_stderr) {
    std::string own;
    for (const Body& body : bodies_) {
      if (body.stage == result_.stages.size()) own += body.text;
    }
    result_.stages.push_back(stage_ + (joins_stderr ? " 2>&1" : "") + (own.empty() ? "" : "\n" + own));
  }

  /// A line break between stages.
  void break_line_between() {
    text_ += '\n';
    take_bodies(0);
  }

  GeneratedPipeline finish() {
    if (!bodies_.empty()) break_line_between();
    result_.text = std::move(text_);
    return std::move(result_);
  }

 private:
  struct Body {
    std::size_t stage;
    std::string text;
  };

  /// Writes all the bodies that are due, and returns those of `stage`.
  std::string take_bodies(std::size_t stage) {
    std::string own;
    for (const Body& body : bodies_) {
      text_ += body.text;
      if (body.stage == stage) own += body.text;
    }
    bodies_.clear();
    return own;
  }

  std::string text_;
  std::string stage_;
  std::vector<Body> bodies_;
  GeneratedPipeline result_;
};

GeneratedPipeline PipelineTextGenerator::pipeline() {
  Writer writer;
  const std::size_t count = 1 + below(4);
  if (chance(10)) writer.write_between(pick({"\n", "  ", "# a | b\n", "\\\n"}));
  for (std::size_t index = 0; index < count; ++index) {
    writer.begin_stage();
    if (index == 0) {
      source(writer);
    } else {
      filter(writer, 2);
    }
    const bool last = index + 1 == count;
    const bool joins_stderr = !last && chance(15);
    writer.end_stage(joins_stderr);
    if (last) break;
    writer.write_between(pick({" ", "", "\t", " \\\n"}));
    writer.write_between(joins_stderr ? "|&" : "|");
    separator(writer);
  }
  if (chance(20)) writer.write_between(pick({";", " ;", "  ", " # c | d", "; # e"}));
  return writer.finish();
}

void PipelineTextGenerator::separator(Writer& writer) {
  writer.write_between(pick({" ", " ", " ", "", "\\\n"}));
  if (!chance(20)) return;
  if (chance(30)) writer.write_between(" # why | not");
  writer.break_line_between();
  if (chance(20)) writer.break_line_between();
}

void PipelineTextGenerator::source(Writer& writer) {
  switch (below(6)) {
    case 0:
      return writer.write("cat");
    case 1:
      writer.write("cat ");
      return here_document(writer);
    case 2:
      return writer.write("cat - <(printf '%s\\n' " + word(1) + " | sort)");
    case 3:
      writer.write("for w in " + word(1) + " " + word(1) + "; do");
      writer.break_line();
      return writer.write("printf '%s|\\n' \"$w\"; done");
    case 4:
      return writer.write("a=" + word(1) + " b+=" + word(1) + " printf '%s\\n' 1");
    default:
      return writer.write("printf '%s\\n' " + word(2) + " " + word(2));
  }
}

void PipelineTextGenerator::here_document(Writer& writer) {
  const std::string delimiter = pick({"E", "END", "E_1"});
  const std::string line = pick(
      {"a | b", "$((1 + 2))", "`printf x`", "'", "a \\\\", "x\\\n" + delimiter + " y", "\tz", "", "\"$(printf q)"});
  switch (below(4)) {
    case 0:
      return writer.add_here_document("<<" + delimiter, line + "\n" + delimiter + "\n");
    case 1:
      return writer.add_here_document("<<'" + delimiter + "'", "$x | `\n(\n" + delimiter + "\n");
    case 2:
      return writer.add_here_document("<<-" + delimiter, "\tb | c\n\t" + delimiter + "\n");
    default:
      return writer.add_here_document("<< \\" + delimiter, "\\\n|&\n" + delimiter + "\n");
  }
}

std::string PipelineTextGenerator::simple_filter() {
  return pick({"cat", "tr a-m n-z", "sed 's/a/|/g'", "sort -r", "wc -l", "grep -v '|'", "grep x", "sed -n '1,3p'",
               "tr '|' \"|\"", "tr \\| x", "LC_ALL=C sort -u", "cat - <(printf 'p|q\\n')", "cat 2>/dev/null",
               ">&1 cat -- -", "sed \"s/$((1 | 2))/$(printf 'a\\n' | tr a b)/\"", "awk '{ print NR \"|\" $0 }'",
               "sed -e \"s/x/${none:-|}/\"", "tr \"${none:-'|'}\" '`'", "cat\\\n -u"});
}

void PipelineTextGenerator::filter(Writer& writer, std::size_t depth) {
  if (depth > 0 && chance(50)) return compound_filter(writer, depth);
  writer.write(simple_filter());
}

void PipelineTextGenerator::compound_filter(Writer& writer, std::size_t depth) {
  switch (below(12)) {
    case 0:
      writer.write("{ ");
      filter(writer, depth - 1);
      writer.write(" | ");
      filter(writer, depth - 1);
      return writer.write("; }");
    case 1:
      writer.write("(");
      filter(writer, depth - 1);
      writer.write(pick({"; exit 3", "; true", "; false", " && printf done"}));
      return writer.write(")");
    case 2:
      writer.write("while read -r l");
      writer.break_line();
      return writer.write("do printf '<%s>|\\n' \"$l\"; done");
    case 3:
      writer.write("if " + condition() + "; then ");
      filter(writer, depth - 1);
      writer.break_line();
      writer.write("else cat; fi");
      return;
    case 4:
      writer.write("case " + word(1) + " in a | b) ");
      filter(writer, depth - 1);
      return writer.write(pick({" ;; (x|y) cat ;; *) cat -u; esac", " ;;& zz) ;; *) cat ; esac", ";; *) sort;; esac"}));
    case 5:
      writer.write("{ cat ");
      here_document(writer);
      writer.write("; cat <&3; ");
      if (chance(50)) writer.break_line();
      return writer.write("} 3<&0");
    case 6:
      writer.write("{ " + condition() + " && ");
      filter(writer, depth - 1);
      return writer.write(" || cat; }");
    case 7:
      writer.write("{ ((x = 1 | 2)); a=(" + word(1) + " '|' \"y z\"); ");
      filter(writer, depth - 1);
      return writer.write("; printf '%s\\n' \"${a[@]}\" \"$x\"; }");
    case 8:
      writer.write("for ((i = 0; i < 2; i++)); do cat; printf '%s|' \"$i\"; done");
      return;
    case 9:
      writer.write("{ ");
      writer.break_line();
      filter(writer, depth - 1);
      writer.write(" # }");
      writer.break_line();
      writer.write("printf 'e|f\\n' >&2");
      writer.break_line();
      return writer.write("}");
    case 10:
      return writer.write("((cat); (printf '|'))");
    default:
      writer.write("cat 3<&0 ");
      here_document(writer);
      writer.write(" ");
      here_document(writer);
      return writer.write(" - /dev/fd/3");
  }
}

std::string PipelineTextGenerator::condition() {
  return pick({"[[ a == @(a|b) ]]", "[[ 'x|' =~ ^(x|y)[|]$ ]]", "[[ a < b && ( c || d ) ]]", "[[ $none == +(x|y) ]]",
               "((1 | 0))", "! false", "[[ x =~ [[:digit:]] ]]", "test a = '|'", "[[ ! -z ${none} ]]"});
}

std::string PipelineTextGenerator::word(std::size_t depth) {
  if (depth > 0 && chance(30)) return word(depth - 1) + word(depth - 1);
  return pick({"a",
               "b",
               "xyz",
               "'a|b'",
               "\"a | b\"",
               "\\|",
               "\"\\\"|\"",
               "$'\\'|'",
               "$(printf 'c\\n' | tr c d)",
               "\"$(printf \"%s\" \"|\")\"",
               "`printf e | tr e f`",
               "${none:-g|h}",
               "\"${none:-'|'}\"",
               "$((1 | 6))",
               "'$('",
               "\"`printf '%s' '|'`\"",
               "i#j",
               "$(case k in k) printf l;; esac)",
               "$(printf m # )\n)",
               "$(cat <<E\nn | (\nE\n)",
               "${#none}",
               "\"\\\n\"",
               "''",
               "$[1 | 2]",
               "$((printf o); (printf p))"});
}

std::string PipelineTextGenerator::status_pipeline() { return status_chain(2, false); }

std::string PipelineTextGenerator::status_chain(std::size_t depth, bool reads_endless) {
  if (chance(25)) return endless_chain(depth);
  std::string text = status_stage(depth, reads_endless);
  for (std::size_t count = below(3); count > 0; --count) text += " | " + status_stage(depth, false);
  return text;
}

/// A writer that never stops by itself, so that it surely meets the reader that goes away.
std::string PipelineTextGenerator::endless_chain(std::size_t depth) {
  std::string text = pick({"yes", "yes | cat"});
  const std::string reader = pick({"head -n 1 >/dev/null", "head -c 100000 >/dev/null", "{ read -r line; exit 4; }"});
  text += " | " + (chance(60) ? reader : status_stage(depth, true));
  if (chance(50)) text += " | " + status_stage(depth, false);
  return text;
}

/// A stage that writes nothing. If what it reads never ends, nothing in it may read all of that.
std::string PipelineTextGenerator::status_stage(std::size_t depth, bool reads_endless) {
  if (depth > 0 && chance(50)) {
    const std::string list = status_list(depth - 1, reads_endless);
    return chance(50) ? "{ " + list + "; }" : "( " + list + " )";
  }
  const std::string drain = reads_endless ? "" : pick({"", "cat >/dev/null; "});
  return "{ " + drain +
         pick({"exit 0", "exit 1", "exit 7", "exit 255", "true", "false", "kill -TERM $BASHPID", "kill -KILL $BASHPID",
               "kill -USR1 $BASHPID", "no_such_command_of_ours", "(exit 9)", "(kill -TERM $BASHPID)", "exit 141"}) +
         "; }";
}

std::string PipelineTextGenerator::status_list(std::size_t depth, bool reads_endless) {
  std::string text = (chance(15) ? "! " : "") + status_chain(depth, reads_endless);
  while (chance(35)) text += pick({"; ", " && ", " || "}) + status_chain(depth, reads_endless);
  return text;
}

std::string PipelineTextGenerator::mutated(std::string text) {
  const std::vector<std::string> parts = {" ",  "\n", ";",  "|",  "&",   "(",      ")",    "<",    ">",  "{",
                                          "}",  "\"", "'",  "`",  "$",   "\\",     "#",    "=",    "[",  "]",
                                          "@",  "!",  "$(", "${", "$((", "((",     "<<",   "[[",   "]]", ";;",
                                          "if", "fi", "do", "in", "@x",  " then ", "esac", "done", "<("};
  for (std::size_t count = 1 + below(4); count > 0; --count) {
    const std::size_t at = below(text.size() + 1);
    const std::size_t length = below(8);
    switch (below(4)) {
      case 0:
        text.insert(at, pick(parts));
        break;
      case 1:
        text.erase(at, length);
        break;
      case 2:
        text.insert(below(text.size() + 1), text.substr(at, length));
        break;
      default:
        if (at < text.size()) text[at] = static_cast<char>(1 + below(255));
        break;
    }
  }
  return text;
}

std::uint64_t property_seed() {
  const char* const given = std::getenv("SLUICE_SEED");
  return given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
}

std::size_t property_cases(std::size_t otherwise) {
  const char* const given = std::getenv("SLUICE_PROPERTY_CASES");
  return given != nullptr ? std::strtoul(given, nullptr, 10) : otherwise;
}

std::string rerun_hint(std::uint64_t case_seed) {
  return "rerun: SLUICE_SEED=" + std::to_string(case_seed) + " SLUICE_PROPERTY_CASES=1";
}

}  // namespace sluice::flow
