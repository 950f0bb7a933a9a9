#pragma once
// Starts threads that take no signal, not even at first: a thread has the signal mask of the one that started it.
// Threading: lives and dies on one thread.
#include <pthread.h>

#include <csignal>

namespace sluice {

class SignalsBlocked final {
 public:
  SignalsBlocked() {
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_;
};

}  // namespace sluice
