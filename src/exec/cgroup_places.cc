#include <charconv>
#include <fstream>
#include <iterator>
#include <optional>
#include <utility>

#include "exec/cgroup.h"

namespace sluice::exec {
namespace {

// Splits off what comes before `separator`, and the separator.
std::string_view take_until(std::string_view& text, char separator) {
  std::size_t end = text.find(separator);
  std::string_view head = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  return head;
}

bool lists(std::string_view list, std::string_view word) {
  while (!list.empty())
    if (take_until(list, ',') == word) return true;
  return false;
}

// mountinfo writes blanks and backslashes as \040 and the like (proc(5)).
std::string unescaped(std::string_view text) {
  std::string result;
  while (!text.empty()) {
    unsigned value = 0;
    if (text[0] == '\\' && text.size() >= 4 &&
        std::from_chars(text.data() + 1, text.data() + 4, value, 8).ptr == text.data() + 4) {
      result += static_cast<char>(value);
      text.remove_prefix(4);
    } else {
      result += text[0];
      text.remove_prefix(1);
    }
  }
  return result;
}

struct Mount {
  std::string root;  // which folder of the hierarchy is mounted
  std::string point;
  std::string_view type;
  std::string_view options;  // of the hierarchy: its controllers
};

Mount read_mount(std::string_view line) {
  Mount mount;
  for (int i = 0; i < 3; ++i) take_until(line, ' ');  // mount id, parent id, device
  mount.root = unescaped(take_until(line, ' '));
  mount.point = unescaped(take_until(line, ' '));
  while (!line.empty() && take_until(line, ' ') != "-") {
  }
  mount.type = take_until(line, ' ');
  take_until(line, ' ');  // source
  mount.options = line;
  return mount;
}

// The own group's path below the mount, if it is below it: in a container the hierarchy's upper part is not there.
std::optional<std::string> below(const Mount& mount, std::string_view group) {
  if (group.starts_with("/..")) return std::nullopt;
  std::string root = mount.root == "/" ? "" : mount.root;
  if (!group.starts_with(root)) return std::nullopt;
  group.remove_prefix(root.size());
  if (!group.empty() && group[0] != '/') return std::nullopt;
  return mount.point + std::string(group == "/" ? "" : group);
}

std::optional<std::string> place_in(std::string_view mounts, std::string_view controller, std::string_view group) {
  while (!mounts.empty()) {
    Mount mount = read_mount(take_until(mounts, '\n'));
    bool fits =
        controller.empty() ? mount.type == "cgroup2" : mount.type == "cgroup" && lists(mount.options, controller);
    if (!fits) continue;
    if (auto directory = below(mount, group)) return directory;
  }
  return std::nullopt;
}

std::string whole_file(const char* path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

}  // namespace

std::vector<CgroupPlace> find_cgroups(std::string_view own, std::string_view mounts) {
  std::optional<std::string> v2, freezer, pids;
  while (!own.empty()) {
    std::string_view line = take_until(own, '\n');
    take_until(line, ':');  // the hierarchy's number
    std::string_view controllers = take_until(line, ':');
    if (controllers.empty()) v2 = place_in(mounts, "", line);
    if (lists(controllers, "freezer")) freezer = place_in(mounts, "freezer", line);
    if (lists(controllers, "pids")) pids = place_in(mounts, "pids", line);
  }
  std::vector<CgroupPlace> places;
  if (v2) places.push_back({CgroupVersion::v2, std::move(*v2)});
  if (freezer) places.push_back({CgroupVersion::v1, std::move(*freezer)});
  if (pids) places.push_back({CgroupVersion::v1, std::move(*pids)});
  return places;
}

std::vector<CgroupPlace> find_cgroups() {
  return find_cgroups(whole_file("/proc/self/cgroup"), whole_file("/proc/self/mountinfo"));
}

}  // namespace sluice::exec
