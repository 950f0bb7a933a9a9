#pragma once
// Makes authorities and certificates for the tests of this folder.
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "net/credentials.h"

namespace sluice::net {

struct TestCertificate {
  std::string name = "n1";
  std::vector<std::string> uris = {"sluice:role:node", "sluice:node:000102030405060708090a0b0c0d0e0f"};
  std::chrono::seconds begins{-3600};  // from now
  std::chrono::seconds ends{3600};
  std::vector<unsigned char> serial = std::vector<unsigned char>(16, 0x11);
};

class TestAuthority final {
 public:
  explicit TestAuthority(const std::string& name = "test cluster");
  ~TestAuthority();

  const std::string& pem() const { return pem_; }
  /// Believes in this authority only.
  Credentials issue(const TestCertificate& certificate = {}) const;
  Credentials issue_for(const std::string& role) const;

 private:
  struct Key;
  std::unique_ptr<Key> key_;
  std::string name_;
  std::string pem_;
};

}  // namespace sluice::net
