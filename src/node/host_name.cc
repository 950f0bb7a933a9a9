#include "node/host_name.h"

#include <sys/utsname.h>

namespace sluice::node {

std::string host_name() {
  utsname names{};
  return ::uname(&names) == 0 ? names.nodename : "localhost";
}

}  // namespace sluice::node
