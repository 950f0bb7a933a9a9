// The command line of Sluice. A verb is found first, and only what that verb needs is built.
#include <unistd.h>

#include "cli/no_such_verb.h"
#include "cli/verbs.h"

namespace {

using namespace sluice::cli;

int dispatch(int argc, char** argv) {
  if (argc < 2) {
    help_verb({});
    return kUsage;
  }
  std::string name = argv[1];
  if (name == "--version" || name == "-V") name = "version";
  if (name == "--help" || name == "-h") name = "help";
  const Verb* verb = find_verb(name);
  if (verb != nullptr) return verb->run(Arguments(argv + 2, argv + argc));
  return refuse(kUsage, no_such_verb(name, verb_names()));
}

}  // namespace

// Nothing of ours waits to be destroyed; _exit spares the libraries' farewells.
int main(int argc, char** argv) { ::_exit(dispatch(argc, argv)); }
