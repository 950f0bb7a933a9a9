#include "node/remembered_members.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>

namespace sluice::node {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

class RememberedMembersTest : public testing::Test {
 protected:
  RememberedMembersTest() : folder_(testing::TempDir() + fmt::format("members-{}", NodeId::random().text())) {
    std::filesystem::create_directories(folder_);
  }
  ~RememberedMembersTest() override { std::filesystem::remove_all(folder_); }

  static cluster::Member member(std::uint8_t number, cluster::MemberState state = cluster::MemberState::alive) {
    cluster::Member made;
    made.id.bytes[0] = number;
    made.profile.endpoint = {fmt::format("10.0.0.{}", number), 7117};
    made.state = state;
    return made;
  }
  static NodeId self() { return member(1).id; }
  std::vector<std::string> read() const {
    std::vector<std::string> texts;
    for (const net::HostPort& at : RememberedMembers(folder_).read()) texts.push_back(net::to_text(at));
    return texts;
  }

  std::string folder_;
};

TEST_F(RememberedMembersTest, TheOthersWhoArePresentAreRemembered) {
  RememberedMembers remembered(folder_);
  EXPECT_THAT(read(), IsEmpty());
  EXPECT_TRUE(remembered.write({member(1), member(2), member(3, cluster::MemberState::dead)}, self()));
  EXPECT_THAT(read(), ElementsAre("10.0.0.2:7117"));
}

TEST_F(RememberedMembersTest, WhoeverIsAloneKeepsTheHint) {
  RememberedMembers remembered(folder_);
  remembered.write({member(1), member(2)}, self());
  remembered.write({member(1)}, self());
  EXPECT_THAT(read(), ElementsAre("10.0.0.2:7117"));
  remembered.forget();
  EXPECT_THAT(read(), IsEmpty());
}

TEST_F(RememberedMembersTest, TheyAreFewAndThoseOfBeforeStay) {
  RememberedMembers remembered(folder_);
  std::vector<cluster::Member> members = {member(90)};
  remembered.write(members, self());
  for (std::uint8_t number = 2; number < 40; ++number) members.insert(members.begin(), member(number));
  remembered.write(members, self());
  EXPECT_THAT(read(), SizeIs(RememberedMembers::kMax));
  EXPECT_EQ(read().front(), "10.0.0.90:7117");
}

TEST_F(RememberedMembersTest, ADamagedFileIsNoHarm) {
  std::ofstream(folder_ + "/members") << "nonsense:\n10.0.0.5:7117\n\x01\n";
  EXPECT_THAT(read(), ElementsAre("10.0.0.5:7117"));
}

}  // namespace
}  // namespace sluice::node
