#include "link/line_marker.h"

#include <gtest/gtest.h>

namespace sluice::link {
namespace {

TEST(LineMarker, MarksWholeLines) {
  LineMarker marker("[a] ");
  EXPECT_EQ(marker.on_bytes("one\ntw"), "[a] one\n");
  EXPECT_EQ(marker.on_bytes("o\n\nthree"), "[a] two\n[a] \n");
  EXPECT_EQ(marker.on_end(), "[a] three\n");
  EXPECT_EQ(marker.on_end(), "");
}

TEST(LineMarker, BoundsALongLine) {
  LineMarker marker("> ");
  std::string piece(LineMarker::kLineMax, 'x');
  EXPECT_EQ(marker.on_bytes(piece + "y"), "> " + piece + "\n");
  EXPECT_EQ(marker.on_bytes("\n"), "> y\n");
}

TEST(LineMarker, ALineOfExactlyTheBoundIsOneLine) {
  LineMarker marker("> ");
  std::string line(LineMarker::kLineMax - 1, 'x');
  EXPECT_EQ(marker.on_bytes(line + "\nz\n"), "> " + line + "\n> z\n");
}

TEST(LineMarker, ThatLineEndMayComeAlone) {
  LineMarker marker("> ");
  std::string line(LineMarker::kLineMax, 'x');
  EXPECT_EQ(marker.on_bytes(line), "> " + line + "\n");
  EXPECT_EQ(marker.on_bytes("\nz\n"), "> z\n");
  EXPECT_EQ(marker.on_bytes("\n"), "> \n");
}

}  // namespace
}  // namespace sluice::link
