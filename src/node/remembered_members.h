#pragma once
// Where members of the cluster were last seen, kept in the data directory: a node that is started again finds its cluster
// even if the node that it once joined is gone. `sluice leave` forgets them.
//
//   DATA/members: one HOST:PORT a line
//
// Threading: belongs to the control loop; writes a small file.
#include <cstddef>
#include <string>
#include <vector>

#include "cluster/member.h"
#include "net/address.h"

namespace sluice::node {

class RememberedMembers final {
 public:
  /// Each is asked now and again while nobody is there, so that it is a few.
  static constexpr std::size_t kMax = 8;

  explicit RememberedMembers(const std::string& data_directory) : path_(data_directory + "/members") {}

  /// Lines that are damaged are left out: the file is only a help.
  std::vector<net::HostPort> read() const;
  /// Keeps the addresses of those who are present, without `self`. Those that are known already stay first. False: it could
  /// not be written; errno says why.
  bool write(const std::vector<cluster::Member>& members, const NodeId& self);
  void forget();

 private:
  std::string path_;
};

}  // namespace sluice::node
