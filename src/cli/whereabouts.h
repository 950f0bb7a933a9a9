#pragma once
// Where a key and the sockets of this host's nodes are found, by options, settings and folders (DESIGN, section 12).
// Of a key and a certificate the one from the nearer place is taken; from the same place the certificate, which may less.
#include <string>
#include <vector>

#include "cli/settings.h"

namespace sluice::cli {

/// What shows a node who we are: one of two files.
struct Proof {
  std::string key;
  std::string cert;
  std::string origin;  // where its name comes from
};

/// `given` is what options or a context said. Then: SLUICE_CERT and SLUICE_KEY, the user's file, cluster.key beside it, the
/// system's file, cluster.key beside that. Nothing is found: both are empty.
Proof find_proof(const Proof& given, const Settings& settings);
/// The same, of keys alone.
std::string find_key(const std::string& given, const Settings& settings);

/// Where a node started here keeps its state: `data`, or the default.
std::string data_directory(const Settings& settings);
/// The data directories whose node a command asks that knows of no other: the user's, then the system's. With SLUICE_DATA
/// only that.
std::vector<std::string> local_data_directories(const Settings& settings);

}  // namespace sluice::cli
