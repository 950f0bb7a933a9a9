#include "node/member_memory.h"

#include <cerrno>
#include <chrono>
#include <cstring>

#include "node/condition.h"
#include "node/remembered_members.h"

namespace sluice::node {
namespace {

constexpr std::chrono::seconds kWriteInterval{1};

}  // namespace

struct MemberMemory::Impl {
  Impl(net::asio::any_io_executor executor, const MemberView& to_members, const std::string& data_directory,
       Logger& to_log)
      : members(to_members), log(to_log), remembered(data_directory), changed(executor), ending(executor) {}

  static net::Awaitable<void> keep(std::shared_ptr<Impl> self) {
    while (!self->closed) {
      if (!self->dirty) {
        co_await self->changed.wait();
        continue;
      }
      self->dirty = false;
      if (!self->remembered.write(self->members.members(), self->members.self()))
        self->log.warn("members not remembered", {{"reason", std::strerror(errno)}});
      TimePoint due = Clock::now() + kWriteInterval;
      while (!self->closed && Clock::now() < due) co_await self->ending.wait(due);
    }
  }

  const MemberView& members;
  Logger& log;
  RememberedMembers remembered;
  Condition changed, ending;
  bool dirty = false;
  bool closed = false;
};

MemberMemory::MemberMemory(net::asio::any_io_executor executor, TaskGroup& tasks, const MemberView& members,
                           const std::string& data_directory, Logger& log)
    : impl_(std::make_shared<Impl>(std::move(executor), members, data_directory, log)) {
  tasks.spawn(Impl::keep(impl_));
}

MemberMemory::~MemberMemory() = default;

std::vector<net::HostPort> MemberMemory::read() const { return impl_->remembered.read(); }

void MemberMemory::on_change() {
  impl_->dirty = true;
  impl_->changed.notify();
}

void MemberMemory::close(AtEnd at_end) {
  impl_->closed = true;
  impl_->changed.notify();
  impl_->ending.notify();
  if (at_end == AtEnd::forget) return impl_->remembered.forget();
  (void)impl_->remembered.write(impl_->members.members(), impl_->members.self());
}

}  // namespace sluice::node
