"""What the C++ library does with what its program throws, where no handler of a record is under way."""

from cpp_programs import ROOT, compile_program
from stage import Stage

SOURCE = """
#include <sluice/worker.h>

#include <cstdio>
#include <exception>

int main() {
  sluice::Worker worker;
  try {
    return worker.source([](sluice::Worker& out) {
      out.write(std::string(11, 'x'));
      return true;
    });
  } catch (const std::exception& error) {
    std::puts(error.what());
    return 3;
  }
}
"""


def test_what_a_source_throws_comes_out_of_it(tmp_path):
    (tmp_path / "source.cc").write_text(SOURCE)
    program = compile_program(tmp_path / "source", tmp_path / "source.cc", ROOT / "clients/cpp/worker.cc")
    stage = Stage([str(program)], tmp_path)
    try:
        stage.begin(record_max=10)
        assert stage.exit_status() == 3, stage.described()
        assert stage.printed("stdout") == "an output of 11 bytes is longer than a record may be (10 bytes, --max-record)\n"
    finally:
        stage.close()
