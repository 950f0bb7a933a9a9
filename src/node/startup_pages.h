#pragma once
// Gives back what only coming up needed: pages of the heap that are free again, and pages of the binary and of libraries
// that hold code which ran once (reading options, keys and certificates, starting the TLS library).
// Threading: called once, by the control loop.

namespace sluice::node {

/// What is still needed comes back by itself from the page cache, a fault for each 64 KiB.
void give_back_startup_pages();

}  // namespace sluice::node
