// Merges what several look-ups found of a user: merger NETWORK...
#include <sluice/worker.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "record.h"

namespace {

struct Waiting {
  std::string user;  // what is known
  std::vector<sluice::Input> inputs;
};

}  // namespace

int main(int count, char** arguments) {
  std::vector<std::string> networks(arguments + 1, arguments + count);
  std::map<std::string, Waiting, std::less<>> waiting;
  sluice::Worker worker;
  worker.concurrency(1000);
  worker.on_data([&](std::string_view record, sluice::Input input) {
    std::string_view id = field(record, "id");
    auto found = waiting.try_emplace(std::string(id)).first;
    Waiting& one = found->second;
    if (one.user.empty()) one.user = record;
    for (const std::string& network : networks)
      if (field(one.user, network).empty() && !field(record, network).empty())
        append_field(one.user, network, field(record, network));
    one.inputs.push_back(input);
    bool complete = std::all_of(networks.begin(), networks.end(),
                                [&](const std::string& network) { return !field(one.user, network).empty(); });
    if (!complete) return;
    // It belongs to the last of them; none is done before all are there, so none is lost with this process.
    input.write(one.user);
    for (const sluice::Input& each : one.inputs) each.done();
    waiting.erase(found);
  });
  return worker.run();
}
