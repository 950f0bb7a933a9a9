#pragma once
// A table of text that fits the width it is given, so that no column is lost because it stands at the right. Where there
// is too little room its columns take their short headings first, then words are shortened, then columns are left out,
// those that matter least first.
// Threading: pure functions.
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sluice::cli {

struct TableColumn {
  std::string heading;
  std::string short_heading = heading;
  bool words = false;        // they begin at the left; numbers end at the right
  std::size_t least = 0;     // what its values may come to need: a table of a given width does not move when they do
  std::size_t shortest = 0;  // its words may be shortened to that; 0: they may not
  unsigned left_out = 0;     // as the first, the second...; 0: never
};

struct TableCell {
  TableCell(std::string whole)
      : text(std::move(whole)) {}                // NOLINT(google-explicit-constructor): most have no other text
  TableCell(const char* whole) : text(whole) {}  // NOLINT(google-explicit-constructor)
  TableCell(std::string whole, std::string shorter) : text(std::move(whole)), brief(std::move(shorter)) {}

  std::string text;
  std::string brief;  // takes the place of a text that does not fit, and is not shortened itself; empty: the text is
};
using TableRow = std::vector<TableCell>;  // as many cells as there are columns

/// Characters; a wide one counts as one.
std::size_t width_of(std::string_view text);

/// The headings and the rows, each on one line, without line ends. `width` 0: whatever they need. If what is never left
/// out is wider, so are the lines.
std::vector<std::string> table_lines(const std::vector<TableColumn>& columns, const std::vector<TableRow>& rows,
                                     std::size_t width);

}  // namespace sluice::cli
