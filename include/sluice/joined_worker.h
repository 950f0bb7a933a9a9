#pragma once
// A worker that joins flows by itself: a program that is started by hand, on any host, and serves flows under the name
// of a role, as `sluice worker` does for other programs.
//
//   #include <sluice/joined_worker.h>
//
//   int main() {
//     sluice::Worker worker;
//     worker.on_data([](std::string_view record, sluice::Input input) {
//       input.write("got " + std::string(record));
//       input.done();
//     });
//     sluice::JoinOptions options;
//     options.role = "got";
//     options.nodes = {"sluice://db1:7117"};
//     options.certificate = "worker.pem";
//     worker.join(options);
//     return worker.run();
//   }
//
// run() dials a node, and again when that is lost; it offers the role, and serves one flow after the other on the
// thread that called it. It returns when it was told to end, or when another attempt could not help: 2 for an option
// that is wrong, 4 if the certificate or its role is refused, 8 if the node speaks another version, 1 for all else.
//
// - Signals: while it runs, SIGTERM and SIGINT let it finish what it has in hand, and return. A second one has the
//   effect that it had before run(), which ends the program. A signal that the program itself handles, ignores or
//   blocks is left to it: call end() then. They are put back when run() returns.
// - It starts two threads, which take no signal and call no handler, and no process.
// - What it has to say is a line on stderr each, or a call of `report`. It raises no SIGPIPE.
// - A handler is never stopped. When a flow is given up while one is at work, what it still writes and settles is not
//   heard, and the next flow is served when it has returned.
//
// It needs the library that `make install` builds: link what `pkg-config --static --libs sluice-worker` says.
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "sluice/worker.h"

namespace sluice {

struct JoinOptions {
  /// The name that stands as `role` in the flow's file.
  std::string role;
  /// Each a URL, HOST:PORT, or the path of a node's Unix socket; the next is tried when one is lost. None: the node of
  /// this host, by its socket: that of SLUICE_DATA, the user's, or the system's.
  std::vector<std::string> nodes;
  /// The file of a certificate, as `sluice cert issue --role worker` writes it; read again for each attempt. Not needed
  /// for a socket.
  std::string certificate;
  /// The name, or the whole id, of the only flow to serve; empty: any.
  std::string flow;
  /// Return when one flow was served: with what that has ended with.
  bool once = false;
  /// Called for each line, without its end, on any thread; it must not block. None: it goes to stderr.
  std::function<void(std::string_view line)> report;
};

}  // namespace sluice
