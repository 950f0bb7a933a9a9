// Looks up the account of each user: lookup NETWORK. In place of a network that answers, it waits a moment.
// `make joined` builds one that is started by hand, on any host, and joins flows with a stage of the role NETWORK:
// joined-lookup NETWORK [NODE CERTIFICATE].
#include <sluice/worker.h>
#ifdef JOINS
#include <sluice/joined_worker.h>
#endif

#include <cctype>
#include <chrono>
#include <cstdlib>
#include <string>
#include <thread>

#include "record.h"

namespace {

std::string account(std::string_view record, const std::string& network) {
  std::string_view name = field(record, "name");
  std::string account;
  for (char c : name.substr(0, name.find(' ')))
    account += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return account.append(".").append(field(record, "id")).append("@").append(network);
}

}  // namespace

int main(int count, char** arguments) {
  std::string network = count > 1 ? arguments[1] : "";
  const char* seconds = std::getenv("LOOKUP_SECONDS");
  std::chrono::duration<double> answer_time(seconds != nullptr ? std::atof(seconds) : 0.001);
  sluice::Worker worker;
  worker.concurrency(10);
#ifdef JOINS
  sluice::JoinOptions options;
  options.role = network;
  if (count > 2) options.nodes = {arguments[2]};
  if (count > 3) options.certificate = arguments[3];
  worker.join(options);
#endif
  // A look-up of its own thread: as many as the concurrency at a time.
  worker.on_data([&](std::string_view record, sluice::Input input) {
    std::thread([&network, answer_time, input, user = std::string(record)]() mutable {
      std::this_thread::sleep_for(answer_time);
      append_field(user, network, account(user, network));
      input.write(user);
      input.done();
    }).detach();
  });
  return worker.run();
}
