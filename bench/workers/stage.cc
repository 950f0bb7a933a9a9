// One stage of the benchmark of workers, in C++: stage tap RECORDS | filter | map | sink
// Records are 100 bytes; the filter passes all of them, after it has looked at each; the map changes one byte.
#include <sluice/worker.h>

#include <charconv>
#include <cstdlib>
#include <string>
#include <string_view>

namespace {

constexpr std::uint32_t kConcurrency = 1000;

int tap(std::uint64_t records) {
  std::string record(100, 'x');
  std::uint64_t written = 0;
  sluice::Worker worker;
  return worker.source([&](sluice::Worker& out) {
    if (written == records) return false;
    // Its number, from the left: what is behind it belongs to a longer one before, or is the filling.
    *std::to_chars(record.data(), record.data() + 20, written++).ptr = ' ';
    out.write(record);
    return true;
  });
}

}  // namespace

int main(int count, char** arguments) {
  std::string_view role = count > 1 ? arguments[1] : "";
  if (role == "tap") return tap(std::strtoull(arguments[2], nullptr, 10));
  sluice::Worker worker;
  worker.concurrency(kConcurrency);
  std::uint64_t seen = 0;
  if (role == "filter") {
    worker.on_data([](std::string_view record, sluice::Input input) {
      if (record.back() == 'x') input.write(record);
      input.done();
    });
  } else if (role == "map") {
    worker.on_data([copy = std::string()](std::string_view record, sluice::Input input) mutable {
      copy.assign(record);
      copy.back() = 'y';
      input.write(copy);
      input.done();
    });
  } else {
    worker.on_data([&seen](std::string_view, sluice::Input input) {
      ++seen;
      input.done();
    });
    worker.on_end([&] { worker.write(std::to_string(seen)); });
  }
  return worker.run();
}
