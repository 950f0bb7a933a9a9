#include "exec/program_lookup.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace sluice::exec {
namespace {

std::expected<void, LookupError> check(const std::string& file) {
  struct stat status {};
  if (::stat(file.c_str(), &status) != 0) return std::unexpected(LookupError::not_found);
  // AT_EACCESS: exec(2) will ask for the effective user, which access(2) does not.
  bool executable = !S_ISDIR(status.st_mode) && ::faccessat(AT_FDCWD, file.c_str(), X_OK, AT_EACCESS) == 0;
  if (!executable) return std::unexpected(LookupError::not_executable);
  return {};
}

}  // namespace

std::expected<std::string, LookupError> find_program(std::string_view name, std::string_view path) {
  if (name.empty()) return std::unexpected(LookupError::not_found);
  if (name.find('/') != std::string_view::npos) {
    std::string file(name);
    if (auto checked = check(file); !checked) return std::unexpected(checked.error());
    return file;
  }
  LookupError worst = LookupError::not_found;
  while (true) {
    std::size_t colon = path.find(':');
    std::string_view folder = path.substr(0, colon);
    std::string file = (folder.empty() ? std::string(".") : std::string(folder)) + "/" + std::string(name);
    auto checked = check(file);
    if (checked) return file;
    struct stat status {};
    bool is_file = checked.error() == LookupError::not_executable && ::stat(file.c_str(), &status) == 0 &&
                   !S_ISDIR(status.st_mode);
    if (is_file) worst = LookupError::not_executable;  // a folder of that name is passed over, as bash does
    if (colon == std::string_view::npos) return std::unexpected(worst);
    path.remove_prefix(colon + 1);
  }
}

}  // namespace sluice::exec
