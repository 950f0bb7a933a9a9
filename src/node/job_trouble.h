#pragma once
// Why a process can't be started, and what to try.
#include <cerrno>
#include <cstring>
#include <string>

namespace sluice::node {

inline std::string trouble(int error) {
  std::string why = std::strerror(error);
  if (error == EMFILE || error == ENFILE) why += "; raise the limit (ulimit -n)";
  if (error == EAGAIN) why += "; raise the limit (ulimit -u)";
  return why;
}

}  // namespace sluice::node
