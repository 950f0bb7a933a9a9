#pragma once
// Which start of a node a datagram comes from: a number that grows with every start, so that a recording from before the
// last one is recognized as old.
//
// The upper 40 bits grow: the seconds of the calendar, or one more than at the last start if that is greater. So a host
// without a clock counts its starts, and a host that was set back to an old image of its disk goes by the calendar. Only a
// host with neither would be refused by those who remember it, until they have forgotten it.
// The lower 24 bits are random: if the upper ones were ever used twice all the same, the keys of the datagrams would still
// differ.
//
// The upper bits are zero for a passer-by: a program that only asks (a client that looks for nodes), under an id that is
// made up for one question. Nobody keeps a window for it, so its datagrams may be believed to ask, never to tell.
// Threading: pure, but for next_boot, which waits for the disk.
#include <compare>
#include <cstdint>
#include <expected>
#include <string>

#include "cluster/certificate.h"
#include "cluster/private_file.h"

namespace sluice::cluster {

struct BootNumber {
  std::uint64_t value = 0;

  static BootNumber passer_by();
  bool is_passer_by() const { return value >> 24 == 0; }
  auto operator<=>(const BootNumber&) const = default;
};

/// The boot number of the start that happens now; it is on the disk, in `data_directory`, when this returns. A damaged file
/// counts as none. Errors: system.
std::expected<BootNumber, FileError> next_boot(const std::string& data_directory, WallTime now);

}  // namespace sluice::cluster
