#pragma once
// Coroutines of the I/O shells: Asio's awaitable, and nothing else of Asio. The one header of ours that may include a
// part of Asio, since a coroutine's type can't be hidden.
#include <boost/asio/awaitable.hpp>
#include <expected>

#include "net/error.h"

namespace sluice::net {

namespace asio = boost::asio;

template <class T = void>
using Awaitable = asio::awaitable<T>;

}  // namespace sluice::net
