#include "cli/whereabouts.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>

namespace sluice::cli {
namespace {

using testing::ElementsAre;

// A user's and a system's folder for configuration, both empty at first.
class Whereabouts : public testing::Test {
 protected:
  Whereabouts() {
    std::string pattern = testing::TempDir() + "whereabouts-XXXXXX";
    folder_ = ::mkdtemp(pattern.data());
    std::filesystem::create_directories(user());
    std::filesystem::create_directories(system());
    ::setenv("XDG_CONFIG_HOME", folder_.c_str(), 1);
    ::setenv("SLUICE_SYSTEM_CONFIG_DIR", system().c_str(), 1);
  }
  ~Whereabouts() override { std::filesystem::remove_all(folder_); }

  std::string user() const { return folder_ + "/sluice"; }
  std::string system() const { return folder_ + "/etc"; }
  static void add_key(const std::string& folder) { std::ofstream(folder + "/cluster.key") << "key"; }

  Settings settings() const {
    auto variable = [this](const std::string& name) {
      auto found = variables_.find(name);
      return found == variables_.end() ? std::string() : found->second;
    };
    auto read = Settings::from({.variable = variable,
                                .user_file = SettingsFile{user() + "/config", user_file_},
                                .system_file = SettingsFile{system() + "/config", system_file_},
                                .home = "/home/ann"});
    return read.value();
  }

  std::string folder_, user_file_, system_file_;
  std::map<std::string, std::string> variables_;
};

TEST_F(Whereabouts, AKeyIsLookedForFromTheNearestPlaceToTheFarthest) {
  EXPECT_EQ(find_key("", settings()), "");
  add_key(system());
  EXPECT_EQ(find_key("", settings()), system() + "/cluster.key");
  system_file_ = "key = /system.key";
  EXPECT_EQ(find_key("", settings()), "/system.key");
  add_key(user());
  EXPECT_EQ(find_key("", settings()), user() + "/cluster.key");
  user_file_ = "key = /user.key";
  EXPECT_EQ(find_key("", settings()), "/user.key");
  variables_["SLUICE_KEY"] = "/variable.key";
  EXPECT_EQ(find_key("", settings()), "/variable.key");
  EXPECT_EQ(find_key("/option.key", settings()), "/option.key");
}

TEST_F(Whereabouts, TheNearerOfKeyAndCertificateIsTaken) {
  user_file_ = "cert = /user.pem";
  EXPECT_EQ(find_proof({}, settings()).cert, "/user.pem");
  EXPECT_EQ(find_proof({.key = "/option.key"}, settings()).cert, "");
  EXPECT_EQ(find_proof({.key = "/option.key"}, settings()).key, "/option.key");
  variables_["SLUICE_KEY"] = "/variable.key";
  EXPECT_EQ(find_proof({}, settings()).key, "/variable.key");
  EXPECT_EQ(find_proof({}, settings()).cert, "");
  EXPECT_EQ(find_proof({}, settings()).origin, "SLUICE_KEY");
}

TEST_F(Whereabouts, OfKeyAndCertificateInOnePlaceTheCertificateIsTaken) {
  system_file_ = "key = /system.key\ncert = /system.pem\n";
  EXPECT_EQ(find_proof({}, settings()).cert, "/system.pem");
  EXPECT_EQ(find_proof({}, settings()).origin, system() + "/config:2");
  EXPECT_EQ(find_key("", settings()), "/system.key");
}

TEST_F(Whereabouts, TheUsersNodeIsAskedBeforeTheSystems) {
  user_file_ = "data = /user/state";
  EXPECT_THAT(local_data_directories(settings()), ElementsAre("/user/state", "/var/lib/sluice"));
  system_file_ = "data = /srv/sluice";
  EXPECT_THAT(local_data_directories(settings()), ElementsAre("/user/state", "/srv/sluice"));
  user_file_.clear();
  EXPECT_THAT(local_data_directories(settings()), ElementsAre("/srv/sluice"));
  variables_["SLUICE_DATA"] = "/variable/state";
  EXPECT_THAT(local_data_directories(settings()), ElementsAre("/variable/state"));
}

}  // namespace
}  // namespace sluice::cli
