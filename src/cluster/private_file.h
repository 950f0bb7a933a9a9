#pragma once
// Files that hold secrets, or what a node must find again after a power cut: mode 0600, written whole or not at all.
// Threading: none of its own. Every call may wait for the disk, so none belongs on a loop that serves others.
#include <cstddef>
#include <expected>
#include <string>
#include <string_view>

#include "cluster/secret.h"

namespace sluice::cluster {

enum class FileErrorKind {
  missing,    // there is no such file
  exists,     // there is one already, and it was not to be overwritten
  exposed,    // others than its owner may open it
  malformed,  // its content is not what was expected
  system,     // anything else the kernel said
};

struct FileError {
  FileErrorKind kind = FileErrorKind::system;
  std::string message;  // a sentence that names the file, and says what to try
};

enum class FileContent {
  secret,  // refused if others than its owner may open it
  open,    // a signed or harmless content, whoever may read it
};

struct ReadLimits {
  std::size_t size_max = 0;
  FileContent content = FileContent::secret;
};

/// A regular file of at most `size_max` bytes. Errors: missing, exposed, malformed (too large), system.
std::expected<SecretText, FileError> read_private_file(const std::string& path, ReadLimits limits);

/// Makes a new file of mode 0600 and waits until it is on the disk. Errors: exists, system; no half of a file is left then.
std::expected<void, FileError> create_private_file(const std::string& path, std::string_view content);

/// Puts a file of mode 0600 in the place of `path`, if there is one. After a power cut there is the old or the new one,
/// whole. `path` + ".new" is used on the way. Errors: system; the old file is there then.
std::expected<void, FileError> replace_private_file(const std::string& path, std::string_view content);

}  // namespace sluice::cluster
