#include "cli/text_table.h"

#include <algorithm>
#include <numeric>

#include "flow/quoting.h"

namespace sluice::cli {
namespace {

constexpr std::size_t kGap = 2;  // before each column

struct Layout {
  bool short_headings = false;
  std::vector<std::size_t> widths;  // 0: the column is left out
};

const std::string& heading_of(const TableColumn& column, const Layout& layout) {
  return layout.short_headings ? column.short_heading : column.heading;
}

std::size_t total_of(const std::vector<std::size_t>& widths) {
  return std::accumulate(widths.begin(), widths.end(), std::size_t{0},
                         [](std::size_t sum, std::size_t width) { return width == 0 ? sum : sum + kGap + width; });
}

class Fitting {
 public:
  Fitting(const std::vector<TableColumn>& columns, const std::vector<TableRow>& rows)
      : columns_(columns), rows_(rows) {}

  Layout layout(std::size_t width) const {
    Layout layout;
    for (std::size_t i = 0; i < columns_.size(); ++i) layout.widths.push_back(wanted(i, layout, width > 0));
    if (width == 0 || total_of(layout.widths) <= width) return layout;
    layout.short_headings = true;
    for (std::size_t i = 0; i < columns_.size(); ++i) layout.widths[i] = shortest(i, layout);
    leave_out(width, layout.widths);
    give_rest(width, layout);
    return layout;
  }

 private:
  std::size_t wanted(std::size_t column, const Layout& layout, bool keep_least) const {
    std::size_t width = width_of(heading_of(columns_[column], layout));
    if (keep_least) width = std::max(width, columns_[column].least);
    for (const TableRow& row : rows_) width = std::max(width, width_of(row[column].text));
    return width;
  }

  std::size_t shortest(std::size_t column, const Layout& layout) const {
    std::size_t all = wanted(column, layout, true);
    if (columns_[column].shortest == 0) return all;
    std::size_t width = std::max(columns_[column].shortest, width_of(heading_of(columns_[column], layout)));
    for (const TableRow& row : rows_) width = std::max(width, width_of(row[column].brief));
    return std::min(width, all);
  }

  void leave_out(std::size_t width, std::vector<std::size_t>& widths) const {
    unsigned last = std::ranges::max(columns_, {}, &TableColumn::left_out).left_out;
    for (unsigned next = 1; next <= last && total_of(widths) > width; ++next)
      for (std::size_t i = 0; i < columns_.size(); ++i)
        if (columns_[i].left_out == next) widths[i] = 0;
  }

  // To the columns that were shortened, from the left.
  void give_rest(std::size_t width, Layout& layout) const {
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      std::size_t total = total_of(layout.widths);
      if (total >= width) return;
      if (layout.widths[i] > 0) layout.widths[i] = std::min(wanted(i, layout, true), layout.widths[i] + width - total);
    }
  }

  const std::vector<TableColumn>& columns_;
  const std::vector<TableRow>& rows_;
};

std::string text_within(const TableCell& cell, std::size_t width) {
  if (width_of(cell.text) <= width) return cell.text;
  return cell.brief.empty() ? flow::on_one_line(cell.text, width) : cell.brief;
}

std::string line_of(const TableRow& row, const std::vector<TableColumn>& columns, const Layout& layout) {
  std::string line;
  for (std::size_t i = 0; i < row.size(); ++i) {
    if (layout.widths[i] == 0) continue;
    std::string text = text_within(row[i], layout.widths[i]);
    std::string padding(layout.widths[i] - width_of(text), ' ');
    line += std::string(kGap, ' ') + (columns[i].words ? text + padding : padding + text);
  }
  line.erase(line.find_last_not_of(' ') + 1);
  return line;
}

}  // namespace

std::size_t width_of(std::string_view text) {
  return static_cast<std::size_t>(
      std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

std::vector<std::string> table_lines(const std::vector<TableColumn>& columns, const std::vector<TableRow>& rows,
                                     std::size_t width) {
  Layout layout = Fitting(columns, rows).layout(width);
  TableRow headings;
  for (const TableColumn& column : columns) headings.emplace_back(heading_of(column, layout));
  std::vector<std::string> lines = {line_of(headings, columns, layout)};
  for (const TableRow& row : rows) lines.push_back(line_of(row, columns, layout));
  return lines;
}

}  // namespace sluice::cli
