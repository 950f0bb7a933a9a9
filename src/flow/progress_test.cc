#include "flow/progress.h"

#include <gtest/gtest.h>

namespace sluice::flow {
namespace {

using namespace std::chrono_literals;

const TimePoint kStart{};

ProgressSample sample(Duration after, std::vector<std::optional<double>> fill, std::uint64_t written = 0) {
  return {.at = kStart + after,
          .stages = {{.written = {written}}, {.read = {written}}, {.running = true}},
          .link_fill = std::move(fill)};
}

std::optional<std::size_t> holder(std::optional<double> first, std::optional<double> second) {
  Progress progress(kStart);
  for (int i = 1; i <= 10; ++i) progress.on_sample(sample(i * 1s, {first, second}));
  return progress.report().holds_back;
}

TEST(Progress, NamesTheReaderOfTheLastFullLink) {
  EXPECT_EQ(holder(1.0, 0.0), 1u);
  EXPECT_EQ(holder(1.0, 1.0), 2u);
  EXPECT_EQ(holder(0.0, 1.0), 2u);
  EXPECT_EQ(holder(0.0, 0.0), 0u) << "everybody waits for the source";
  EXPECT_EQ(holder(std::nullopt, std::nullopt), 0u);
}

TEST(Progress, IsNotMisledByOneFullSample) {
  Progress progress(kStart);
  for (int i = 1; i <= 10; ++i) progress.on_sample(sample(i * 1s, {0.0, 0.0}));
  progress.on_sample(sample(11s, {1.0, 0.0}));
  EXPECT_EQ(progress.report().holds_back, 0u);
}

TEST(Progress, RatesAreSinceTheLastReport) {
  Progress progress(kStart);
  progress.on_sample(sample(2s, {0.0, 0.0}, 2048));
  EXPECT_DOUBLE_EQ(progress.report().stages[0].written_rate, 1024);
  progress.on_sample(sample(4s, {0.0, 0.0}, 4096 + 2048));
  auto report = progress.report();
  EXPECT_DOUBLE_EQ(report.stages[0].written_rate, 2048);
  EXPECT_EQ(report.stages[0].written.value, 6144u);
  EXPECT_EQ(report.elapsed, 4s);
}

TEST(Progress, SaysWhatAStageThatHasEndedDid) {
  ProgressReport report{.elapsed = 12s,
                        .stages = {{.running = false, .written = {36'805'018}, .duration = 3500ms},
                                   {.running = false, .read = {2048}, .duration = 12s}}};
  EXPECT_EQ(progress_line(report, {"1 tr", "2 sort"}), "12.0 s  1 tr 35.1 MiB in 3.5 s | 2 sort 2.00 KiB in 12.0 s");
}

TEST(Progress, PrintsOneLine) {
  ProgressReport report{.elapsed = 12s, .stages = {{.written_rate = 10 << 20}, {.read_rate = 2048}}, .holds_back = 1};
  EXPECT_EQ(progress_line(report, {"1 tr", "2 sort"}),
            "12.0 s  1 tr 10.0 MiB/s | 2 sort 2.00 KiB/s  (2 sort holds back)");
}

}  // namespace
}  // namespace sluice::flow
