#include "cli/stdout_watch.h"

#include <sys/epoll.h>
#include <unistd.h>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <utility>

namespace sluice::cli {

namespace asio = net::asio;

// Stdout itself is not given to Asio, which would make it non-blocking for everybody who has it, the shell included. An epoll
// descriptor of our own stands for it: it is readable as soon as stdout has an error, which is all that it asks for.
struct StdoutWatch::Impl {
  Impl(asio::any_io_executor executor, std::function<void()> to_call)
      : epoll(std::move(executor)), on_closed(std::move(to_call)) {}

  bool open() {
    int descriptor = ::epoll_create1(EPOLL_CLOEXEC);
    if (descriptor < 0) return false;
    epoll.assign(descriptor);
    epoll_event event{};  // EPOLLERR and EPOLLHUP are reported always
    return ::epoll_ctl(descriptor, EPOLL_CTL_ADD, STDOUT_FILENO, &event) == 0;
  }

  asio::posix::stream_descriptor epoll;
  std::function<void()> on_closed;
  bool closed = false;
};

StdoutWatch::StdoutWatch(asio::any_io_executor executor, std::function<void()> on_closed)
    : impl_(std::make_shared<Impl>(std::move(executor), std::move(on_closed))) {
  if (!impl_->open()) return;
  impl_->epoll.async_wait(asio::posix::stream_descriptor::wait_read, [impl = impl_](boost::system::error_code error) {
    if (error || !impl->on_closed) return;
    impl->closed = true;
    impl->on_closed();
  });
}

StdoutWatch::~StdoutWatch() {
  impl_->on_closed = nullptr;
  boost::system::error_code ignored;
  impl_->epoll.close(ignored);
}

bool StdoutWatch::closed() const { return impl_->closed; }

}  // namespace sluice::cli
