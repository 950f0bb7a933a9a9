#pragma once
// The owner as the second net: when the spawner itself is killed, its descendants come to the owner.
#include <sys/types.h>

#include <span>

namespace sluice::exec {

/// Makes this process inherit the descendants of a spawner that dies (prctl(2), PR_SET_CHILD_SUBREAPER).
void become_subreaper();

/// SIGKILLs and reaps every child of this process until there is none but those of `spared`.
void end_all_children(std::span<const pid_t> spared);

}  // namespace sluice::exec
