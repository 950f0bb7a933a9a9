#pragma once
// Whether a descriptor is the null device: what is read from it is nothing, what is written to it is nobody's.
// Threading: pure.
#include <sys/stat.h>
#include <sys/sysmacros.h>

namespace sluice {

/// The device of number 1:3, by whatever name it was opened (null(4)). False for a descriptor that is not open.
inline bool is_null_device(int fd) {
  struct stat status {};
  return ::fstat(fd, &status) == 0 && S_ISCHR(status.st_mode) && status.st_rdev == makedev(1, 3);
}

}  // namespace sluice
