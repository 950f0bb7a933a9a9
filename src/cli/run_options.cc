#include "cli/run_options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include "base/quantity.h"
#include "base/spelling.h"
#include "cli/flow_file_input.h"
#include "cli/option_settings.h"
#include "flow/stage_words.h"

namespace sluice::cli {

const std::vector<std::string> kPipefailNames = {"lenient", "strict", "last"};
const std::vector<std::string> kProgressNames = {"auto", "plain", "json", "none"};

namespace {

using Refusal = std::unexpected<std::string>;

// A file of it must have a size that a disk can give.
constexpr std::uint64_t kKeptBytesMin = std::uint64_t{4} << 10;

constexpr const char* kDescription =
    "Run a pipeline as a shell would, and end every process of it whatever happens.\n"
    "The whole pipeline is one argument; words at the start of a stage that begin with @ say where and how it runs.";

constexpr const char* kExamples =
    "Examples:\n"
    "  sluice run \"tr -cs A-Za-z '\\n' < book.txt | sort | uniq -c | sort -rn | head\"\n"
    "  sluice run --timeout 10m --json 'zcat big.gz | ./clean | gzip' > clean.gz\n"
    "\n"
    "Exit status: the pipeline's; 124 timed out, 125 refused by sluice itself, 126 not executable,\n"
    "127 not found, 128+n ended by signal n. docs/pipelines.md says more.";

// An option that is understood, and refused with what it needs until that exists.
struct FutureOption {
  const char* names;
  const char* value;  // what it takes, or null
  const char* needs;
  const char* meaning;
};
constexpr FutureOption kFuture[] = {
    {"-d,--deploy", nullptr, "services", "deploy the pipeline as a service"},
};

constexpr std::string_view kSettings[] = {"grace",      "shell",       "pipefail", "progress",
                                          "output-max", "mark-stderr", "quiet"};

// The strings that CLI11 fills; they are judged afterwards, with messages of ours.
struct Raw {
  std::string timeout, stall_timeout, grace, pipefail, progress, cwd, keep_max, ship_max;
  RecordOptionReader records;
  bool mark = false, no_mark = false;
  std::vector<std::string> future_values = std::vector<std::string>(std::size(kFuture));
};

void add_cluster_options(CLI::App& app, RunOptions& options, Raw& raw) {
  const char* group = "Over a cluster";
  app.add_option("--node", options.node, "the node to ask: a URL, HOST:PORT, or the path of its socket")
      ->type_name("URL")
      ->group(group);
  app.add_option("--discover", options.discover, "find a node by multicast")->type_name("GROUP:PORT")->group(group);
  app.add_option("--key", options.key, "the cluster key, for a node elsewhere")->type_name("FILE")->group(group);
  app.add_option("--cert", options.cert, "a certificate, in place of the key")->type_name("FILE")->group(group);
  app.add_flag("--background", options.background, "hand the flow to the node, print its id and return")->group(group);
  app.add_option("--output-max", raw.keep_max, "of the output that a background flow keeps (10M)")
      ->type_name("SIZE")
      ->group(group);
  app.add_option("--ship", options.ship, "a file that stages elsewhere need beside those that they name as ./FILE")
      ->allow_extra_args(false)
      ->type_name("FILE")
      ->group(group);
  app.add_option("--ship-max", raw.ship_max, "the largest file that is shipped (64M)")->type_name("SIZE")->group(group);
  app.add_flag("--mark", raw.mark, "mark each line of @all with its node")->group(group);
  app.add_flag("--no-mark", raw.no_mark, "mark none")->group(group);
}

void add_options(CLI::App& app, RunOptions& options, Raw& raw) {
  app.add_option("-f,--file", options.file, "run the flow of a file, whatever its name; - reads it from stdin")
      ->type_name("FILE");
  // One value for each time it is given: the pipeline text that follows is no second one.
  app.add_option("--env", options.environment, "set a variable for every stage; NAME alone takes it away")
      ->allow_extra_args(false)
      ->type_name("NAME=VALUE");
  app.add_option("--cwd", raw.cwd, "the folder to run in, of stages here and of files that travel")->type_name("DIR");
  app.add_option("--timeout", raw.timeout, "end the flow after this long, with status 124")->type_name("DURATION");
  app.add_option("--stall-timeout", raw.stall_timeout,
                 "end a flow whose stages have only waited for each other for so long (10s)")
      ->type_name("DURATION|off");
  app.add_option("--grace", raw.grace, "between asking stages to end and SIGKILL (2s)")->type_name("DURATION");
  app.add_option("--shell", options.shell, "the shell for stages that need one (bash, else sh)")->type_name("SHELL");
  app.add_option("--pipefail", raw.pipefail, "which stage's status counts (lenient)")->type_name("lenient|strict|last");
  app.add_option("--name", options.name, "the flow's name, in reports")->type_name("NAME");
  app.add_option("--progress", raw.progress, "on stderr; auto: only on a terminal (auto)")
      ->type_name("auto|plain|json|none");
  app.add_flag("--exact", options.exact,
               "count the bytes between stages exactly, by a relay or the links between hosts");
  app.add_flag("--json", options.json, "a summary as the last line on stderr; with --dry-run the plan on stdout");
  app.add_flag("--mark-stderr", options.mark_stderr, "mark each line of stderr with its stage");
  app.add_flag("--keep", options.keep, "spare what stages leave running");
  app.add_flag("-q,--quiet", options.quiet, "say nothing about stages that fail");
  app.add_flag("-n,--dry-run", options.dry_run, "print the plan, run nothing");
  raw.records.add_to(app);
  add_cluster_options(app, options, raw);
  for (std::size_t i = 0; i < std::size(kFuture); ++i) {
    const FutureOption& future = kFuture[i];
    const std::string meaning = fmt::format("{} (needs {})", future.meaning, future.needs);
    CLI::Option* option = future.value != nullptr
                              ? app.add_option(future.names, raw.future_values[i], meaning)->type_name(future.value)
                              : app.add_flag(future.names, meaning);
    option->group("Not in this version yet");
  }
}

class RunFormatter final : public CLI::Formatter {
 public:
  std::string make_usage(const CLI::App*, std::string) const override {
    return "\nUsage: sluice run [OPTIONS] TEXT\n       sluice run [OPTIONS] -- COMMAND [ARGUMENT...]\n"
           "       sluice run [OPTIONS] NAME.flow.yaml | NAME.flow.json | -f FILE\n";
  }
};

std::string stage_word_section() {
  std::string section = "Words at the start of a stage:\n";
  for (const flow::StageWordHelp& help : flow::stage_word_help())
    section += fmt::format("  {:34}{}\n", help.word, help.meaning);
  return section +
         "  In this version those below @by are checked, planned and refused with the "
         "reason.\n\n";
}

std::unique_ptr<CLI::App> make_app(RunOptions& options, Raw& raw) {
  auto app = std::make_unique<CLI::App>(kDescription, "sluice run");
  app->allow_extras();
  app->footer([] { return stage_word_section() + kExamples; });
  auto formatter = std::make_shared<RunFormatter>();
  formatter->column_width(36);
  app->formatter(formatter);
  add_options(*app, options, raw);
  return app;
}

std::vector<std::string> option_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options())
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  return names;
}

std::expected<std::size_t, std::string> choice(std::string_view option, const std::string& value,
                                               const std::vector<std::string>& names) {
  auto found = std::ranges::find(names, value);
  if (found != names.end()) return static_cast<std::size_t>(found - names.begin());
  return Refusal(fmt::format("run: {}={} is unknown{}; one of: {}", option, value, did_you_mean(value, names),
                             fmt::join(names, " ")));
}

// An unset variable of a script gives an empty value; taken for "not given" it would lift a limit in silence.
std::expected<void, std::string> refuse_empty_values(const CLI::App& app) {
  for (const CLI::Option* option : app.get_options())
    for (const std::string& value : option->results())
      if (value.empty() && option->get_items_expected_max() > 0)
        return Refusal(fmt::format("run: {} has an empty value; leave it out, or give one", option->get_name()));
  return {};
}

// A background flow is nobody's to watch when it has started. What a configuration says of these holds for others.
std::expected<void, std::string> refuse_idle_in_background(const Raw& raw, const RunOptions& options) {
  if (!options.background) return {};
  auto idle = [](std::string_view option, std::string_view why) {
    return Refusal(fmt::format("run: {} does nothing with --background: {}; leave one of them out", option, why));
  };
  if (options.json && !options.dry_run)
    return idle("--json",
                "the summary is known when the flow has ended (`sluice ps -a --json` tells what became of it)");
  if (raw.progress == "plain" || raw.progress == "json")
    return idle("--progress", "the command returns at once (`sluice ps` shows what runs)");
  if (options.mark_stderr)
    return idle("--mark-stderr", "the stderr of each stage is kept by itself (`sluice logs FLOW/STAGE` shows it)");
  if (options.exact) return idle("--exact", "what it counts is part of the summary, which nobody gets");
  return {};
}

// A file of that name on a node would not be the one that was meant.
std::expected<void, std::string> refuse_files_in_background(const RunOptions& options) {
  if (!options.background) return {};
  for (const auto& [option, file] :
       {std::pair("--dead-letter", &options.records.dead_letters), std::pair("--joblog", &options.records.job_log)})
    if (!file->empty())
      return Refusal(fmt::format(
          "run: {} {}: it is a file of this command's, which returns at once, and no node can write it; run "
          "the flow in the foreground, or leave the option out",
          option, *file));
  return {};
}

std::expected<void, std::string> read_size(const char* option, const std::string& text, std::uint64_t& bytes) {
  if (text.empty()) return {};
  auto size = parse_byte_count(text);
  if (!size) return Refusal(fmt::format("run: {}: {}", option, size.error()));
  bytes = size->value;
  return {};
}

std::expected<void, std::string> judge_values(const Raw& raw, RunOptions& options) {
  if (!raw.timeout.empty()) {
    auto timeout = parse_duration(raw.timeout);
    if (!timeout) return Refusal("run: --timeout: " + timeout.error());
    options.timeout = *timeout;
  }
  if (raw.stall_timeout == "off") {
    options.stall_timeout.reset();
  } else if (!raw.stall_timeout.empty()) {
    auto timeout = parse_duration(raw.stall_timeout);
    if (!timeout) return Refusal("run: --stall-timeout: " + timeout.error() + "; or off");
    if (*timeout <= Duration{}) return Refusal("run: --stall-timeout: it takes more than 0; off looks for no stall");
    options.stall_timeout = *timeout;
  }
  if (!raw.grace.empty()) {
    auto grace = parse_duration(raw.grace);
    if (!grace) return Refusal("run: --grace: " + grace.error());
    options.grace = *grace;
  }
  if (!raw.pipefail.empty()) {
    auto index = choice("--pipefail", raw.pipefail, kPipefailNames);
    if (!index) return Refusal(index.error());
    constexpr flow::PipefailRule kRules[] = {flow::PipefailRule::lenient, flow::PipefailRule::strict,
                                             flow::PipefailRule::last};
    options.pipefail = kRules[*index];
  }
  if (!raw.progress.empty()) {
    auto index = choice("--progress", raw.progress, kProgressNames);
    if (!index) return Refusal(index.error());
    constexpr node::ProgressMode kModes[] = {node::ProgressMode::automatic, node::ProgressMode::plain,
                                             node::ProgressMode::json, node::ProgressMode::none};
    options.progress = kModes[*index];
  }
  if (raw.mark && raw.no_mark) return Refusal("run: --mark and --no-mark exclude each other");
  if (raw.mark) options.marks = node::OutputMarks::always;
  if (raw.no_mark) options.marks = node::OutputMarks::never;
  if (auto read = read_size("--output-max", raw.keep_max, options.keep_bytes_max); !read) return read;
  if (options.keep_bytes_max < kKeptBytesMin)
    return Refusal(fmt::format("run: --output-max {}: at least 4K are kept of each output", raw.keep_max));
  if (options.name.find('/') != std::string::npos)
    return Refusal(
        fmt::format("run: --name '{}': a name has no '/', which stands between a flow and its stage "
                    "(sluice logs FLOW/STAGE)",
                    options.name));
  if (auto read = read_size("--ship-max", raw.ship_max, options.ship_bytes_max); !read) return read;
  for (const std::string& variable : options.environment)
    if (variable.empty() || variable[0] == '=')
      return Refusal(fmt::format("run: --env '{}': a variable has a name: NAME=VALUE", variable));
  return {};
}

// The pipeline may have been taken for the value of an option that stands before it.
std::string nothing_to_run(const Raw& raw) {
  for (const auto& [option, value] : {std::pair("--timeout", &raw.timeout), std::pair("--grace", &raw.grace)})
    if (auto duration = parse_duration(*value); !value->empty() && !duration)
      return fmt::format("run: {}: {}; nothing is left to run: give {} a duration, and the pipeline behind it", option,
                         duration.error(), option);
  return "run: nothing to run; give the pipeline as one argument: sluice run \"a | b | c\"";
}

std::string quoted_whole(const std::vector<std::string>& rest) {
  return fmt::format("quote the whole pipeline, sluice run \"{}\"; or run one command as it stands: sluice run -- {}",
                     fmt::join(rest, " "), fmt::join(rest, " "));
}

std::expected<void, std::string> take_text(const CLI::App& app, const Raw& raw, const std::vector<std::string>& rest,
                                           RunOptions& options) {
  for (const std::string& argument : rest)
    if (argument.size() > 1 && argument[0] == '-') {
      std::string name = argument.substr(0, argument.find('='));
      bool behind_a_word = &argument != &rest.front() && rest.front().find_first_of(" \t\n|") == std::string::npos;
      return Refusal(fmt::format("run: unknown option '{}'{}; 'sluice run --help' lists them{}", name,
                                 did_you_mean(name, option_names(app)),
                                 behind_a_word ? "; if it belongs to the command, " + quoted_whole(rest) : ""));
    }
  if (options.command && !rest.empty())
    return Refusal(fmt::format("run: '{}' stands before --, and a command behind it; give one of them", rest[0]));
  bool from_file = app.count("--file") > 0;
  if (from_file && (options.command || !rest.empty()))
    return Refusal("run: --file names what to run, and so does what stands beside it; give one of them");
  if (options.command || from_file) return {};
  if (rest.empty()) return Refusal(nothing_to_run(raw));
  if (rest.size() > 1)
    return Refusal(fmt::format("run: takes one argument, and got {}: {}", rest.size(), quoted_whole(rest)));
  (names_flow_file(rest[0]) ? options.file : options.text) = rest[0];
  return {};
}

}  // namespace

std::expected<std::variant<RunOptions, HelpText>, std::string> read_run_options(const Arguments& arguments) {
  RunOptions options;
  Raw raw;
  auto app = make_app(options, raw);
  auto separator = std::ranges::find(arguments, "--");
  std::vector<std::string> ours(arguments.begin(), separator);
  if (separator != arguments.end()) {
    options.command.emplace(separator + 1, arguments.end());
    if (options.command->empty())
      return Refusal("run: no command behind --; write sluice run -- COMMAND [ARGUMENT...]");
  }
  std::ranges::reverse(ours);  // the order that CLI11 wants
  try {
    app->parse(std::move(ours));
  } catch (const CLI::CallForHelp&) {
    return HelpText{app->help()};
  } catch (const CLI::ParseError& error) {
    return Refusal(fmt::format("run: {}; 'sluice run --help' lists the options", error.what()));
  }
  if (auto taken = take_text(*app, raw, app->remaining(), options); !taken) return Refusal(taken.error());
  if (auto filled = refuse_empty_values(*app); !filled) return Refusal(filled.error());
  if (auto idle = refuse_idle_in_background(raw, options); !idle) return Refusal(idle.error());
  auto settings = read_settings();
  if (!settings) return Refusal(settings.error());
  options.settings = *std::move(settings);
  fill_from_settings(*app, options.settings, kSettings);
  if (auto judged = judge_values(raw, options); !judged) return Refusal(judged.error());
  options.directory = raw.cwd;
  auto records = raw.records.read(*app);
  if (!records) return Refusal(records.error());
  options.records = *std::move(records);
  if (auto files = refuse_files_in_background(options); !files) return Refusal(files.error());
  for (const FutureOption& future : kFuture) {
    std::string name = std::string(future.names).substr(std::string(future.names).rfind(',') + 1);
    if (app->count(name) > 0) options.not_yet.push_back(fmt::format("{} needs {}", name, future.needs));
  }
  return options;
}

int complete_run_options(const Arguments& words) {
  RunOptions options;
  Raw raw;
  auto app = make_app(options, raw);
  VerbHelp help{.options = option_help(*app), .operands_max = 1, .operands = OperandKind::pipeline};
  return print_candidates(complete_arguments(help, words), words.empty() ? "" : words.back());
}

}  // namespace sluice::cli
