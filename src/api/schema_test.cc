#include "api/schema.h"

#include <gmock/gmock.h>

namespace sluice::api {
namespace {

using testing::Contains;
using testing::HasSubstr;

TEST(Schema, ListsTheMethodsOfEveryService) {
  std::vector<std::string> names;
  for (const ApiMethod& method : api_methods()) names.push_back(method.name);
  EXPECT_TRUE(std::ranges::is_sorted(names));
  for (const char* name : {"sluice.v1.Cluster/ListNodes", "sluice.v1.Flows/Run", "sluice.v1.Files/Put",
                           "sluice.v1.Trust/Renew", "sluice.v1.Workers/Host"})
    EXPECT_THAT(names, Contains(name));
}

TEST(Schema, KnowsWhatAMethodTakesAndGives) {
  const ApiMethod* put = find_api_method("sluice.v1.Files/Put");
  ASSERT_NE(put, nullptr);
  EXPECT_EQ(put->request_type, "sluice.v1.PutRequest");
  EXPECT_EQ(put->response_type, "sluice.v1.PutResponse");
  EXPECT_TRUE(put->client_streams);
  EXPECT_FALSE(put->server_streams);
  EXPECT_EQ(find_api_method("sluice.v1.Files/Pu"), nullptr);
}

TEST(Schema, ResolvesFieldsMapsAndOneofs) {
  const MessageType* node = api_schema().message("sluice.v1.Node");
  ASSERT_NE(node, nullptr);
  EXPECT_TRUE(node->find("labels")->is_map());
  EXPECT_EQ(node->find("state")->enumeration->name, "sluice.v1.NodeState");
  EXPECT_FALSE(node->find("name")->has_presence);
  const MessageType* output = api_schema().message("sluice.v1.RunOutput");
  EXPECT_EQ(output->find("keepTerminal"), output->find("keep_terminal"));
  EXPECT_EQ(output->find("note")->oneof, output->find("plan")->oneof);
  EXPECT_TRUE(output->find("note")->has_presence);
}

TEST(Schema, RefusesBytesThatAreNoDescriptors) {
  EXPECT_FALSE(Schema::parse("\x0a\x05zzz").has_value());
  // A file in proto2.
  EXPECT_THAT(Schema::parse(std::string("\x0a\x03\x0a\x01"
                                        "f",
                                        5))
                  .error(),
              HasSubstr("not in proto3"));
  std::string bytes(api_descriptor_set());
  for (std::size_t size = 0; size < bytes.size(); size += 7) (void)Schema::parse(bytes.substr(0, size));
}

// A stream of the HTTP door ends with {"error":...} if it failed: no message may look like that.
TEST(Schema, NoStreamedMessageHasAFieldNamedError) {
  for (const ApiMethod& method : api_methods()) {
    EXPECT_TRUE(!method.server_streams || !api_schema().message(method.response_type)->find("error")) << method.name;
  }
}

}  // namespace
}  // namespace sluice::api
