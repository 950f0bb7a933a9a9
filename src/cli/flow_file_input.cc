#include "cli/flow_file_input.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "base/text.h"
#include "base/unique_fd.h"
#include "flow/quoting.h"
#include "flow/yaml_document.h"
#include "node/embedded_run.h"

namespace sluice::cli {
namespace {

bool is_file(std::string_view name) {
  std::error_code ignored;
  return std::filesystem::is_regular_file(name, ignored);
}

}  // namespace

bool names_flow_file(std::string_view argument) {
  if (!argument.ends_with(".flow.yaml") && !argument.ends_with(".flow.json")) return false;
  return argument.find_first_of(" \t\n|;&<>()") == std::string_view::npos || is_file(argument);
}

std::string hint_of_flow_file(std::string_view argument) {
  bool may_be_one = argument.ends_with(".yaml") || argument.ends_with(".yml") || argument.ends_with(".json");
  if (!may_be_one || !is_file(argument)) return {};
  return fmt::format("'{0}' is a file; if it is a flow file, run it with -f: sluice run -f {1}",
                     without_controls(argument), without_controls(flow::quote_word(argument)));
}

std::string shown_name(const std::string& file) { return file == "-" ? "stdin" : without_controls(file); }

std::expected<std::string, std::string> read_flow_text(const std::string& file) {
  auto refuse_read = [&] {
    return std::unexpected(fmt::format("cannot read the flow file '{}': {}", file, std::strerror(errno)));
  };
  UniqueFd opened;
  if (file != "-") opened = UniqueFd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  int descriptor = file == "-" ? STDIN_FILENO : opened.get();
  if (descriptor < 0) return refuse_read();
  std::string text;
  char block[16384];
  while (text.size() <= flow::YamlLimits().size_max) {
    ssize_t count = ::read(descriptor, block, sizeof block);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return refuse_read();
    if (count == 0) break;
    text.append(block, static_cast<std::size_t>(count));
  }
  return text;
}

void say_mistakes(const std::string& file, const std::vector<flow::FileMistake>& mistakes) {
  std::string text = flow::describe_mistakes(shown_name(file), mistakes);
  if (text.ends_with('\n')) text.pop_back();
  node::write_stderr_line(text);
}

}  // namespace sluice::cli
