#pragma once
// Tells the service manager that started us how we are (sd_notify(3)): one datagram to the socket in NOTIFY_SOCKET.
#include <string_view>

namespace sluice::node {

/// Without a service manager, or if it does not listen, nothing happens.
void notify_service_manager(std::string_view state);

}  // namespace sluice::node
