#include "api/json_mapping.h"

#include <gmock/gmock.h>
#include <sluice/v1/cluster.pb.h>
#include <sluice/v1/flows.pb.h>
#include <sluice/v1/host.pb.h>

#include "api/base64.h"

namespace sluice::api {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

constexpr std::size_t kSizeMax = 4 << 20;

std::string json_of(const google::protobuf::MessageLite& message, ToJsonOptions options = {}) {
  auto json = message_to_json(api_schema(), message.GetTypeName(), message.SerializeAsString(), options);
  EXPECT_TRUE(json.has_value()) << json.error();
  return json.value_or("");
}

template <class Message>
Message message_of(std::string_view json) {
  Message message;
  auto bytes = message_from_json(api_schema(), message.GetTypeName(), json, kSizeMax);
  EXPECT_TRUE(bytes.has_value()) << bytes.error();
  EXPECT_TRUE(message.ParseFromString(bytes.value_or("")));
  return message;
}

template <class Message>
std::string error_of(std::string_view json, std::size_t size_max = kSizeMax) {
  auto bytes = message_from_json(api_schema(), Message().GetTypeName(), json, size_max);
  return bytes ? "accepted" : bytes.error();
}

TEST(JsonMapping, WritesNamesInCamelCaseAndLargeIntegersAsStrings) {
  v1::NodeEvent event;
  event.set_kind(v1::NodeEvent::KIND_JOINED);
  event.mutable_node()->set_name("n1");
  (*event.mutable_node()->mutable_labels())["rack"] = "a\"b";
  event.set_time_unix_ms(18446744073709551615u);
  EXPECT_EQ(
      json_of(event),
      R"({"kind":"KIND_JOINED","node":{"name":"n1","labels":{"rack":"a\"b"}},"timeUnixMs":"18446744073709551615"})");
}

TEST(JsonMapping, LeavesDefaultsOutUnlessAsked) {
  EXPECT_EQ(json_of(v1::Node()), "{}");
  EXPECT_EQ(json_of(v1::Node(), {.print_defaults = true}),
            R"({"id":"","name":"","url":"","state":"NODE_STATE_UNSPECIFIED","labels":{},"version":"","self":false,)"
            R"("reason":"","incarnation":"0"})");
  EXPECT_EQ(json_of(v1::ListNodesResponse(), {.print_defaults = true}), R"({"nodes":[]})");
}

TEST(JsonMapping, WritesTheMemberOfAOneofThatIsSetEvenIfItIsADefault) {
  v1::RunOutput output;
  output.set_note("");
  EXPECT_EQ(json_of(output), R"({"note":""})");
}

TEST(JsonMapping, OfAOneofOnTheWireTheLastMemberCounts) {
  v1::RunOutput note, keep;
  note.set_note("n");
  keep.set_keep_terminal(true);
  auto both = message_to_json(api_schema(), "sluice.v1.RunOutput", note.SerializeAsString() + keep.SerializeAsString());
  EXPECT_EQ(both, R"({"keepTerminal":true})");
}

TEST(JsonMapping, WritesAnEnumThatItDoesNotKnowAsItsNumber) {
  v1::Node node;
  node.set_state(static_cast<v1::NodeState>(77));
  EXPECT_EQ(json_of(node), R"({"state":77})");
}

TEST(JsonMapping, MendsTextThatIsNotUtf8) {
  std::string bytes = "\x0a\x03z\xff!";
  EXPECT_EQ(message_to_json(api_schema(), "sluice.v1.Node", bytes), "{\"id\":\"z\xef\xbf\xbd!\"}");
}

TEST(JsonMapping, RefusesBytesThatAreNoMessage) {
  for (std::string_view bytes : {"\x0a\x7fx", "\x0a", "\x08\x01", "\x0b", "\x07", "\xff"})
    EXPECT_FALSE(message_to_json(api_schema(), "sluice.v1.Node", bytes).has_value()) << testing::PrintToString(bytes);
}

TEST(JsonMapping, ReadsBothSpellingsOfANameAndBothFormsOfANumber) {
  auto flow = message_of<v1::Flow>(R"({"started_unix_ms": "12", "endedUnixMs": 13, "status": "-1", "keptBytes": 1e3})");
  EXPECT_EQ(flow.started_unix_ms(), 12u);
  EXPECT_EQ(flow.ended_unix_ms(), 13u);
  EXPECT_EQ(flow.status(), -1);
  EXPECT_EQ(flow.kept_bytes(), 1000u);
}

TEST(JsonMapping, ReadsEnumsByNameAndNumber) {
  EXPECT_EQ(message_of<v1::Node>(R"({"state":"NODE_STATE_LEFT"})").state(), v1::NODE_STATE_LEFT);
  EXPECT_EQ(message_of<v1::Node>(R"({"state":4})").state(), v1::NODE_STATE_DEAD);
  EXPECT_EQ(message_of<v1::Node>(R"({"state":99})").state(), 99);
}

TEST(JsonMapping, ReadsNullAsUnsetButNotInAList) {
  auto start = message_of<v1::RunStart>(R"({"name":null,"stages":null,"environment":null})");
  EXPECT_EQ(start.ByteSizeLong(), 0u);
  EXPECT_EQ(error_of<v1::StageText>(R"({"plainWords":["a",null]})"), "plainWords[1]: a list can't hold null");
  EXPECT_EQ(error_of<v1::Node>(R"({"labels":{"a":null}})"), "labels['a']: a map can't hold null");
}

TEST(JsonMapping, ReadsBytesInEitherAlphabetWithAndWithoutPadding) {
  for (const char* text : {"-_8=", "+/8=", "-_8", "+/8"})
    EXPECT_EQ(message_of<v1::FileChunk>(R"({"bytes":")" + std::string(text) + "\"}").bytes(), "\xfb\xff") << text;
  for (const char* text : {"a", "ab=", "a===", "a b=", "ab==cd", "ab==", "-/8=",
                           "\xc3\xa4"
                           "aa"})
    EXPECT_THAT(error_of<v1::FileChunk>(R"({"bytes":")" + std::string(text) + "\"}"), HasSubstr("base64")) << text;
}

TEST(JsonMapping, NamesAnUnknownFieldAndTheOneThatWasMeant) {
  EXPECT_EQ(error_of<v1::RunStart>(R"({"stages":[{},{"where":{"nodes":"n1"}}]})"),
            "stages[1].where: there is no field 'nodes' in sluice.v1.Whereabouts; did you mean 'node'?");
  EXPECT_EQ(error_of<v1::ListNodesRequest>(R"({"everything":true})"),
            "sluice.v1.ListNodesRequest: there is no field 'everything' in sluice.v1.ListNodesRequest");
  EXPECT_EQ(error_of<v1::Node>(R"({"state":"NODE_STATE_ALIV"})"),
            "state: takes a value of sluice.v1.NodeState, not 'NODE_STATE_ALIV'; did you mean 'NODE_STATE_ALIVE'?");
}

TEST(JsonMapping, RefusesWhatIsSaidTwice) {
  EXPECT_EQ(error_of<v1::Flow>(R"({"keptBytes":1,"kept_bytes":2})"), "keptBytes: occurs twice");
  EXPECT_EQ(error_of<v1::Node>(R"({"labels":{"a":"1","a":"2"}})"), "labels['a']: occurs twice");
  EXPECT_EQ(error_of<v1::RunInput>(R"({"hostEvent":{},"signal":{}})"), "signal: can't be set beside 'hostEvent'");
  EXPECT_EQ(message_of<v1::RunInput>(R"({"hostEvent":null,"signal":{}})").input_case(), v1::RunInput::kSignal);
}

TEST(JsonMapping, AFractionIsNoIntegerHoweverSmallItIs) {
  for (const char* text : {"12", "12.0", "12.000e0", "0.012e3", "1200e-2", "1.2e+1"})
    EXPECT_EQ(message_of<v1::Keep>(R"({"outputBytesMax":")" + std::string(text) + "\"}").output_bytes_max(), 12u)
        << text;
  // A double would round these.
  for (const char* text : {"1000917630212913.018", "1000917630212913018e-3", "12.00000000000000001", "1.2345e3"})
    EXPECT_THAT(error_of<v1::Keep>(R"({"outputBytesMax":")" + std::string(text) + "\"}"), testing::HasSubstr("integer"))
        << text;
}

TEST(JsonMapping, RefusesValuesOfAnotherKind) {
  EXPECT_EQ(error_of<v1::Node>(R"({"name":1})"), "name: takes a string, not 1");
  EXPECT_EQ(error_of<v1::Node>(R"({"self":"true"})"), "self: takes true or false, not 'true'");
  EXPECT_EQ(error_of<v1::Node>(R"({"labels":["a"]})"), "labels: takes no list");
  EXPECT_EQ(error_of<v1::Node>(R"({"labels":"a"})"), "labels: takes an object");
  EXPECT_EQ(error_of<v1::NodeEvent>(R"({"node":[]})"), "node: takes no list");
  EXPECT_EQ(error_of<v1::NodeEvent>(R"({"node":"n"})"), "node: takes an object");
  EXPECT_EQ(error_of<v1::ListNodesResponse>(R"({"nodes":{}})"), "nodes: takes a list, not an object");
  EXPECT_EQ(error_of<v1::StageText>(R"({"plainWords":[["a"]]})"), "plainWords[0]: takes no list");
  EXPECT_EQ(error_of<v1::StageText>(R"({"plainWords":[{}]})"), "plainWords[0]: takes no object");
  EXPECT_EQ(error_of<v1::Node>("[]"), "sluice.v1.Node: takes an object, not a list");
  EXPECT_EQ(error_of<v1::Node>("null"), "sluice.v1.Node: takes an object, not null");
}

TEST(JsonMapping, RefusesNumbersThatDoNotFit) {
  for (const char* number : {"4294967296", "-1", "1.5", "1e10", "\"0x10\"", "\" 1\"", "\"\"", "true", "1e400"})
    EXPECT_NE(error_of<v1::StageText>(R"({"index":)" + std::string(number) + "}"), "accepted") << number;
  for (const char* number : {"18446744073709551616", "1.8446744073709552e19", "-1", "\"18446744073709551616\""})
    EXPECT_NE(error_of<v1::Node>(R"({"incarnation":)" + std::string(number) + "}"), "accepted") << number;
}

TEST(JsonMapping, SaysWhereTextIsNotJson) {
  EXPECT_THAT(error_of<v1::Node>(R"({"name": "n1",})"), StartsWith("not valid JSON: parse error at line 1, column 15"));
  for (const char* text : {"", "{", "{}x", "{'a':1}", "\"", "{\"name\":\"\xff\"}", "{\"name\":\"\\ud800\"}", "nul"})
    EXPECT_THAT(error_of<v1::Node>(text), testing::AnyOf(StartsWith("not valid JSON"), HasSubstr("takes"))) << text;
}

TEST(JsonMapping, HasALimitOfSize) {
  EXPECT_EQ(error_of<v1::Node>(R"({"name":"0123456789"})", 12), "accepted");
  EXPECT_EQ(error_of<v1::Node>(R"({"name":"0123456789"})", 11), "name: the message is larger than 11 bytes");
}

TEST(JsonMapping, OurApiHasNoTypeWithAJsonFormOfItsOwn) {
  for (const auto& [name, type] : api_schema().messages()) EXPECT_THAT(name, StartsWith("sluice.v1.")) << name;
}

TEST(Base64, AgreesWithTheTestVectorsOfRfc4648) {
  const std::pair<const char*, const char*> vectors[] = {{"", ""},
                                                         {"f", "Zg=="},
                                                         {"fo", "Zm8="},
                                                         {"foo", "Zm9v"},
                                                         {"foob", "Zm9vYg=="},
                                                         {"fooba", "Zm9vYmE="},
                                                         {"foobar", "Zm9vYmFy"}};
  for (auto [bytes, text] : vectors) {
    std::string written;
    append_base64(written, bytes);
    EXPECT_EQ(written, text);
    EXPECT_EQ(bytes_from_base64(text), bytes);
  }
}

}  // namespace
}  // namespace sluice::api
