#pragma once
// The folder that the stages of one remote flow work in: fresh, nobody else's (0700), and gone afterwards.
//
// The removal walks over a tree that another user has made and may still be changing. A node that is root does it with
// that user's rights on the file system and none of its own (setfsuid(2), for the calling thread only), so that nothing
// goes which he could not have removed himself, whatever he links or moves into the folder. It follows no link and
// leaves other file systems alone. It never recurses and never goes up: each folder is emptied by moving the folders in
// it up beside it, so that a tree of any depth needs three descriptors.
// Threading: any; it may take long and does not belong on a loop.
#include <sys/types.h>

#include <expected>
#include <optional>
#include <string>

#include "base/time.h"

namespace sluice::exec {

struct FolderOwner {
  uid_t uid = 0;
  gid_t gid = 0;
};

struct FolderError {
  int error = 0;     // errno
  std::string what;  // "make the folder /x/y", "remove /x/y/z"
};

/// Makes a folder with a random name below `parent`, which must not be writable by others, and gives it to `owner`,
/// which only root can; without one it is our own. Returns its path.
std::expected<std::string, FolderError> make_private_folder(const std::string& parent,
                                                            std::optional<FolderOwner> owner);

/// A tree that grows as fast as it is removed, or never ends, is given up after this long.
inline constexpr Duration kRemovalPatience = std::chrono::seconds(60);

/// Removes the folder, made for `owner`, and all that is in it. One that is not there is no error; one that is no
/// folder (a link, above all) is. Errors: the first thing that could not be removed; what could be is gone.
std::expected<void, FolderError> remove_private_folder(const std::string& path, std::optional<FolderOwner> owner,
                                                       Duration patience = kRemovalPatience);

}  // namespace sluice::exec
