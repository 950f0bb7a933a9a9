#include "link/readiness.h"

#include <sys/epoll.h>

#include <array>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cerrno>

#include "base/require.h"
#include "base/unique_fd.h"

namespace sluice::link {

namespace asio = boost::asio;
using WaiterPointer = std::shared_ptr<LoopWaiter>;

class Readiness::Impl : public std::enable_shared_from_this<Impl> {
 public:
  virtual ~Impl() = default;
  virtual void close() = 0;

  void await(Need need, const WaiterPointer& waiter) {
    if (waiting(need)) return;
    waiting(need) = true;
    start(need, waiter);
  }
  bool ready(Need need) const { return !waiting_[static_cast<std::size_t>(need)]; }

 protected:
  virtual void start(Need need, const WaiterPointer& waiter) = 0;
  bool& waiting(Need need) { return waiting_[static_cast<std::size_t>(need)]; }

 private:
  std::array<bool, 3> waiting_{};
};

/// A description of ours: Asio may do with it what it likes.
class Readiness::Alone final : public Impl {
 public:
  Alone(const asio::any_io_executor& executor) : descriptor_(executor) {}

  boost::system::error_code open(int descriptor) {
    boost::system::error_code error;
    descriptor_.assign(descriptor, error);
    return error;
  }
  // Asio would close it, but it has an owner.
  ~Alone() override { close(); }
  void close() override {
    if (descriptor_.is_open()) descriptor_.release();
  }

 private:
  void start(Need need, const WaiterPointer& waiter) override {
    using Wait = asio::posix::descriptor_base;
    auto kind = need == Need::input ? Wait::wait_read : need == Need::output ? Wait::wait_write : Wait::wait_error;
    auto self = std::static_pointer_cast<Alone>(shared_from_this());
    descriptor_.async_wait(kind, [self, need, waiter](const boost::system::error_code& error) {
      if (!self->descriptor_.is_open()) return;
      // What epoll(7) can't watch has no trouble to tell of, and is ready for the rest.
      if (error == asio::error::operation_not_supported && need == Need::trouble) return;
      self->waiting(need) = false;
      waiter->on_ready();
    });
  }

  asio::posix::stream_descriptor descriptor_;
};

/// A description that others use too: an epoll instance of ours stands between it and Asio.
class Readiness::Shared final : public Impl {
 public:
  Shared(const asio::any_io_executor& executor, int descriptor) : inner_(executor), descriptor_(descriptor) {}

  /// Nothing: epoll(7) does not support it.
  std::expected<bool, int> open() {
    epoll_.reset(::epoll_create1(EPOLL_CLOEXEC));
    if (!epoll_) return std::unexpected(errno);
    epoll_event event{.events = 0, .data = {}};
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, descriptor_, &event) != 0) {
      if (errno == EPERM) return false;
      return std::unexpected(errno);
    }
    boost::system::error_code error;
    inner_.assign(epoll_.get(), error);
    if (error) return std::unexpected(error.value());
    return true;
  }
  ~Shared() override { close(); }
  void close() override {
    if (inner_.is_open()) inner_.release();
    epoll_.reset();
    waiter_.reset();
  }

 private:
  static std::uint32_t events_of(Need need) {
    return need == Need::input ? EPOLLIN : need == Need::output ? EPOLLOUT : std::uint32_t{0};
  }

  void start(Need, const WaiterPointer& waiter) override {
    waiter_ = waiter;
    apply_interest();
    if (!waits_) wait();
  }

  void apply_interest() {
    epoll_event event{.events = 0, .data = {}};
    for (Need need : {Need::input, Need::output})
      if (waiting(need)) event.events |= events_of(need);
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, descriptor_, &event);
  }

  void wait() {
    waits_ = true;
    auto self = std::static_pointer_cast<Shared>(shared_from_this());
    inner_.async_wait(asio::posix::descriptor_base::wait_read, [self](const boost::system::error_code& error) {
      if (self->inner_.is_open()) self->look(error);
    });
  }

  void look(const boost::system::error_code& error) {
    waits_ = false;
    epoll_event event{.events = 0, .data = {}};
    if (!error && ::epoll_wait(epoll_.get(), &event, 1, 0) == 0) return wait();
    bool trouble = error || (event.events & (EPOLLERR | EPOLLHUP)) != 0;
    for (Need need : {Need::input, Need::output, Need::trouble})
      if (trouble || (event.events & events_of(need)) != 0) waiting(need) = false;
    apply_interest();
    auto waiter = waiter_;
    bool more = waiting(Need::input) || waiting(Need::output) || waiting(Need::trouble);
    more ? wait() : waiter_.reset();
    waiter->on_ready();
  }

  asio::posix::stream_descriptor inner_;
  int descriptor_;
  UniqueFd epoll_;
  WaiterPointer waiter_;
  bool waits_ = false;
};

/// What epoll(7) does not support: ready at any time, and never in trouble.
class Readiness::Always final : public Impl {
 public:
  explicit Always(asio::any_io_executor executor) : executor_(std::move(executor)) {}
  void close() override { closed_ = true; }

 private:
  void start(Need need, const WaiterPointer& waiter) override {
    if (need == Need::trouble) return;
    auto self = std::static_pointer_cast<Always>(shared_from_this());
    asio::post(executor_, [self, need, waiter] {
      if (self->closed_) return;
      self->waiting(need) = false;
      waiter->on_ready();
    });
  }

  asio::any_io_executor executor_;
  bool closed_ = false;
};

Readiness::Readiness(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

Readiness& Readiness::operator=(Readiness&& other) noexcept {
  if (this == &other) return *this;
  close();
  impl_ = std::move(other.impl_);
  return *this;
}

std::expected<Readiness, int> Readiness::watch(asio::any_io_executor executor, int descriptor, bool shared) {
  if (shared) {
    auto impl = std::make_shared<Shared>(executor, descriptor);
    auto supported = impl->open();
    if (!supported) return std::unexpected(supported.error());
    if (*supported) return Readiness(impl);
    return Readiness(std::make_shared<Always>(executor));
  }
  auto impl = std::make_shared<Alone>(executor);
  if (auto error = impl->open(descriptor)) return std::unexpected(error.value());
  return Readiness(impl);
}

void Readiness::await(Need need, const WaiterPointer& waiter) {
  REQUIRE(impl_ != nullptr);
  impl_->await(need, waiter);
}

bool Readiness::ready(Need need) const { return impl_ != nullptr && impl_->ready(need); }

void Readiness::close() {
  if (impl_) std::exchange(impl_, nullptr)->close();
}

struct Alarm::Impl {
  explicit Impl(const asio::any_io_executor& executor) : timer(executor) {}
  asio::steady_timer timer;
  std::uint64_t round = 0;  // a wait that was replaced may have gone off already
  bool armed = false;
  bool expired = false;
};

Alarm::Alarm(asio::any_io_executor executor) : impl_(std::make_shared<Impl>(executor)) {}
Alarm::Alarm(Alarm&&) noexcept = default;
Alarm::~Alarm() {
  if (impl_) cancel();
}

void Alarm::set(Duration after, const WaiterPointer& waiter) {
  impl_->armed = true;
  impl_->expired = false;
  impl_->timer.expires_after(after);
  impl_->timer.async_wait([impl = impl_, waiter, round = ++impl_->round](const boost::system::error_code& error) {
    if (error || round != impl->round) return;
    impl->armed = false;
    impl->expired = true;
    waiter->on_ready();
  });
}

bool Alarm::armed() const { return impl_->armed; }
bool Alarm::take_expired() { return std::exchange(impl_->expired, false); }

void Alarm::cancel() {
  ++impl_->round;
  impl_->armed = false;
  impl_->expired = false;
  impl_->timer.cancel();
}

}  // namespace sluice::link
