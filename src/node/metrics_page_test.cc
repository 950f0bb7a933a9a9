#include "node/metrics_page.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sluice/v1/flows.pb.h"

namespace sluice::node {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

v1::ReadCountersResponse two_flows() {
  v1::ReadCountersResponse counters;
  for (const char* id : {"f1", "f2"}) {
    v1::FlowCounters& flow = *counters.add_flows();
    flow.set_id(id);
    flow.set_text("seq 3 | @map grep \"a\\b\"");
    v1::StageCounters& stage = *flow.add_stages();
    stage.set_index(1);
    stage.set_command("grep \"a\\b\"");
    stage.mutable_activity()->set_busy_us(1'500'000);
    stage.mutable_records()->set_read(12);
    v1::LinkCounters& link = *flow.add_links();
    link.set_from(-1);
    link.set_to(1);
    link.mutable_bytes()->set_in(18446744073709551615u);
    link.mutable_records()->set_in(12);
    v1::LinkCounters& errors = *flow.add_links();
    errors.set_to(1);
    errors.set_of_errors(true);
    errors.mutable_bytes()->set_dropped(7);
  }
  return counters;
}

std::string page() {
  return metrics_page({.id = "00ff", .name = "n1", .version = "1.0", .members = {{"alive", 3}}}, two_flows());
}

TEST(MetricsPage, TellsOfTheNode) {
  EXPECT_THAT(page(), AllOf(HasSubstr("sluice_node_info{node=\"n1\",id=\"00ff\",version=\"1.0\"} 1\n"),
                            HasSubstr("sluice_members{state=\"alive\"} 3\n"), HasSubstr("sluice_flows_running 2\n")));
}

TEST(MetricsPage, SamplesOfOneNameStandTogetherBehindTheirHelp) {
  EXPECT_THAT(page(), HasSubstr("# HELP sluice_stage_busy_seconds_total Time in which workers of the stage worked.\n"
                                "# TYPE sluice_stage_busy_seconds_total counter\n"
                                "sluice_stage_busy_seconds_total{flow=\"f1\",stage=\"2\"} 1.5\n"
                                "sluice_stage_busy_seconds_total{flow=\"f2\",stage=\"2\"} 1.5\n"
                                "# HELP"));
}

TEST(MetricsPage, CountersAreWhole) {
  EXPECT_THAT(page(),
              HasSubstr("sluice_link_bytes_in_total{flow=\"f1\",from=\"stdin\",to=\"2\"} 18446744073709551615\n"));
}

TEST(MetricsPage, LinksFromStderrHaveALabelOfTheirOwn) {
  EXPECT_THAT(page(),
              HasSubstr("sluice_link_bytes_dropped_total{flow=\"f1\",from=\"1\",to=\"2\",stderr=\"true\"} 7\n"));
}

TEST(MetricsPage, WhatIsNotKnownIsNotThere) {
  EXPECT_THAT(page(), AllOf(HasSubstr("sluice_stage_records_read_total"), Not(HasSubstr("sluice_stage_credit"))));
}

TEST(MetricsPage, LabelsAreEscaped) {
  EXPECT_THAT(page(), HasSubstr("command=\"grep \\\"a\\\\b\\\"\""));
  EXPECT_EQ(escaped_label("a\nb\"c\\d"), "a\\nb\\\"c\\\\d");
  EXPECT_EQ(escaped_label("gr\xC3\xBC\xC3\x9F \xF0\x9F\x98\x80"), "gr\xC3\xBC\xC3\x9F \xF0\x9F\x98\x80");
}

TEST(MetricsPage, BytesThatAreNoUtf8AreReplaced) {
  constexpr const char* kBad = "\xEF\xBF\xBD";
  EXPECT_EQ(escaped_label("a\xFF"), std::string("a") + kBad);
  EXPECT_EQ(escaped_label("\xC3"), kBad);                                     // cut
  EXPECT_EQ(escaped_label("\xC0\x80"), std::string(kBad) + kBad);             // overlong
  EXPECT_EQ(escaped_label("\xED\xA0\x80"), std::string(kBad) + kBad + kBad);  // a surrogate
  EXPECT_EQ(escaped_label("\xF4\x90\x80\x80").substr(0, 3), kBad);            // too large
  EXPECT_EQ(escaped_label(std::string("\0\x7F", 2)), std::string("\0\x7F", 2));
}

}  // namespace
}  // namespace sluice::node
