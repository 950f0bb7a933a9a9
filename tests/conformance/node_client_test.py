"""What the Node library answers to a program that misuses it. Its worker is a few lines of each test."""

import json
import pathlib
import shutil

import pytest

from stage import Stage

ROOT = pathlib.Path(__file__).resolve().parents[2]
NODE = shutil.which("node")

pytestmark = pytest.mark.skipif(NODE is None, reason="node is not installed")


@pytest.fixture
def start(tmp_path):
    """Starts a worker of these lines with a stage at its other end."""
    stages = []

    def start(program):
        path = tmp_path / "worker.js"
        path.write_text(f"const {{ Worker }} = require({json.dumps(str(ROOT / 'clients/node'))});\n{program}\n")
        stages.append(Stage([NODE, str(path)], tmp_path))
        return stages[-1]

    yield start
    for stage in stages:
        stage.close()


def listen(start, lines):
    """A worker whose listener these lines are, which has settled a record."""
    stage = start(f"const worker = new Worker();\nworker.on('data', (record, input) => {{\n{lines}\n}});").begin()
    stage.until_settled(stage.give("a"))
    stage.finish()
    return stage


@pytest.mark.parametrize("record,name", [("5", "Number"), ("true", "Boolean"), ("null", "object"), ("undefined", "undefined"),
                                         ("[1, 2]", "Array"), ("{}", "Object"), ("Object.create(null)", "object")])
def test_what_is_neither_bytes_nor_text_fails_the_record_at_its_line(start, record, name):
    stage = listen(start, f"input.write({record});")
    assert stage.failed == {1: f"write() takes a string, a Buffer or another view of bytes, not {name}"}
    assert "worker.js:4:" in stage.printed()


@pytest.mark.parametrize("record", ["'ab'", "Buffer.from('ab')", "new Uint8Array([97, 98])", "new Uint16Array([0x6261])",
                                    "new DataView(new ArrayBuffer(4), 1, 2)"])
def test_bytes_and_text_are_written(start, record):
    stage = listen(start, f"input.write({record}); input.done();")
    assert [len(output) for output in stage.outputs[1]] == [2]


def test_a_text_that_is_too_long_in_utf_8_fails_its_record(start):
    stage = start("""const worker = new Worker();
worker.on('data', (record, input) => { input.write('\\u00fc'.repeat(record.length)); input.done(); });""").begin(record_max=10)
    ids = stage.give("12345", "123456")
    stage.until_settled(ids)
    assert stage.failed == {ids[1]: "an output of 12 bytes is longer than a record may be (10 bytes, --max-record)"}
    assert stage.outputs[ids[0]] == ["\u00fc".encode() * 5]
    stage.finish()


@pytest.mark.parametrize("concurrency,error", [("0", "RangeError"), ("-1", "RangeError"), ("1.5", "RangeError"),
                                               ("NaN", "RangeError"), ("'x'", "TypeError"), ("null", "TypeError"),
                                               ("2 ** 40", "RangeError")])
def test_a_concurrency_that_is_no_number_of_records_is_refused(start, concurrency, error):
    stage = start(f"new Worker({{ concurrency: {concurrency} }});")
    assert stage.exit_status() == 1
    assert f"{error}: concurrency is a whole number from 1 to 2147483647, not " in stage.printed()
    stage = listen(start, f"worker.concurrency = {concurrency};")
    assert stage.failed[1].startswith("concurrency is a whole number")


@pytest.mark.parametrize("reason,text", [("", ""), ("null", ""), ("new Error('why')", "why"), ("{ code: 5 }", "{ code: 5 }"),
                                         ("Object.create(null)", "[Object: null prototype] {}"), ("5", "5")])
def test_a_reason_may_be_anything(start, reason, text):
    assert listen(start, f"input.fail({reason});").failed == {1: text}


def test_what_is_thrown_may_be_anything(start):
    assert listen(start, "throw Object.create(null);").failed == {1: "[Object: null prototype] {}"}


def test_a_record_is_settled_once(start):
    stage = listen(start, """input.done();
for (const call of [() => input.done(), () => input.fail('x'), () => input.write('late')]) {
  try { call(); } catch (error) { console.log(error.message); }
}""")
    assert stage.done == [1] and not stage.outputs
    assert stage.printed("stdout").splitlines() == ["record 1 is settled already", "record 1 is settled already",
                                                     "record 1 is settled; write() comes before done()"]


def test_what_blocks_behind_a_promise_does_not_hold_up_what_is_settled(start):
    stage = start("""const worker = new Worker();
const cell = new Int32Array(new SharedArrayBuffer(4));
worker.on('data', async (record, input) => {
  await undefined;
  Atomics.wait(cell, 0, 0, 40);
  input.done();
});""").begin(concurrency=100)
    ids = stage.give(*["a"] * 20)
    stage.until_settled(ids)
    assert stage.done_frames == len(ids)
    stage.finish()
