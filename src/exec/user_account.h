#pragma once
// A user of this host, as the name service knows him (getpwnam(3)): who programs are run as.
// Threading: any. A look-up may ask a server and wait for it, so it does not belong on a loop.
#include <sys/types.h>

#include <expected>
#include <string>
#include <vector>

#include "exec/spawn_protocol.h"

namespace sluice::exec {

struct UserAccount {
  std::string name;
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;  // the supplementary ones, the primary among them
  std::string home;
  std::string shell;

  RunAs identity() const { return {.uid = uid, .gid = gid, .groups = {groups.begin(), groups.end()}}; }
};

/// Errors: a sentence for the user, who may have misspelt the name.
std::expected<UserAccount, std::string> find_user(const std::string& name);

/// The user that this process runs as. Errors: a sentence.
std::expected<UserAccount, std::string> own_user();

}  // namespace sluice::exec
