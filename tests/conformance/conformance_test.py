"""Whether a library keeps the rules of docs/protocol-workers.md. README.md says what the worker under test must do."""

import os
import struct
import subprocess
import time

import pytest

from stage import (CANCEL, DONE, END, RECORDS, REFUSE, WELCOME, frame, records_frame, welcome_frame)


def outputs(stage, ids):
    return [b"|".join(stage.outputs[record]) for record in ids]


# --- hello and credit ---------------------------------------------------------------------------------------------


def test_hello_comes_first_and_credit_behind_the_welcome(start):
    stage = start()
    stage.until(lambda: stage.hello, "a hello")
    assert (stage.hello.major, stage.hello.source) == (1, False)
    assert stage.hello.library
    stage.stands_still()
    assert stage.credits == []
    stage.send(welcome_frame(3))
    concurrency, records, size = stage.until(lambda: stage.credits, "credit")[-1]
    assert concurrency == 3 and records >= 3 and size > 0
    stage.finish()


def test_concurrency_is_the_programs_own_where_the_flow_says_nothing(start):
    stage = start("--concurrency", "7")
    stage.begin()
    assert stage.hello.concurrency == 7 and stage.credits[-1][0] == 7
    stage.finish()


def test_a_welcome_of_a_later_minor_version_is_understood(start):
    stage = start().begin(minor=9, more=b"something new")
    ids = stage.give("echo:a")
    stage.until_settled(ids)
    stage.finish()


@pytest.mark.started_by_stage
def test_the_descriptor_is_the_one_that_is_named(start):
    stage = start(descriptor=200).begin()
    ids = stage.give("echo:a")
    stage.until_settled(ids)
    assert outputs(stage, ids) == [b"a"]
    stage.finish()


@pytest.mark.started_by_stage
def test_without_a_stage_it_says_how_it_is_started(worker):
    environment = {name: value for name, value in os.environ.items() if name != "SLUICE_WORKER_FD"}
    result = subprocess.run(worker, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=30)
    assert result.returncode != 0 and b"worker" in result.stderr


@pytest.mark.started_by_stage
def test_a_descriptor_that_is_no_socket_is_refused(worker):
    result = subprocess.run(worker, env={**os.environ, "SLUICE_WORKER_FD": "0"}, stdin=subprocess.DEVNULL,
                            capture_output=True, timeout=30)
    assert result.returncode != 0 and b"SLUICE_WORKER_FD" in result.stderr


# --- records ------------------------------------------------------------------------------------------------------


def test_a_batch_is_worked_off(start):
    stage = start().begin()
    ids = stage.give(*[f"echo:{number}" for number in range(1000)])
    stage.until_settled(ids)
    assert outputs(stage, ids) == [b"%d" % number for number in range(1000)]
    assert stage.done == ids
    stage.finish()


def test_ids_are_what_the_stage_says(start):
    stage = start().begin()
    for first in (5, 3, 2**32 - 1, 2**40 + 7):
        ids = stage.give("echo:a", "attempt:", first=first, attempt=4)
        stage.until_settled(ids)
        assert outputs(stage, ids) == [b"a", b"%d 4" % (first + 1)]
    stage.finish()


def test_a_record_has_many_outputs_or_none(start):
    stage = start().begin()
    ids = stage.give("many:3:x", "none:", "many:20000:0123456789")
    stage.until_settled(ids)
    assert [len(stage.outputs[record]) for record in ids] == [3, 0, 20000]
    for record in ids:
        assert stage.order.index(("done", record)) > max(
            [at for at, said in enumerate(stage.order) if said == ("output", record)], default=-1)
    stage.finish()


def test_records_are_any_bytes_and_may_be_empty(start):
    every_byte = bytes(range(256))
    stage = start().begin()
    ids = stage.give(b"", every_byte, b"\n\0\r\n", "ü".encode(), b"")
    stage.until_settled(ids)
    assert outputs(stage, ids) == [b"", every_byte, b"\n\0\r\n", "ü".encode(), b""]
    assert len(stage.outputs[ids[0]]) == 1
    stage.finish()


def test_a_record_may_be_as_long_as_the_stage_takes(start):
    stage = start().begin()
    long = os.urandom(1 << 20) * 64
    ids = [stage.give(record)[0] for record in ("size:" + "x" * 3_000_000, long, "echo:a")]
    stage.until_settled(ids)
    assert outputs(stage, [ids[0], ids[2]]) == [b"3000005", b"a"]
    assert stage.outputs[ids[1]] == [long]
    stage.finish()


def test_an_output_that_is_too_long_fails_its_record_and_is_named(start):
    stage = start().begin(record_max=1000)
    ids = stage.give("long:1000", "long:1001", "echo:a")
    stage.until_settled(ids)
    assert stage.failed == {ids[1]: stage.failed[ids[1]]}
    assert "an output of 1001 bytes is longer than a record may be (1000 bytes, --max-record)" in stage.failed[ids[1]]
    assert outputs(stage, ids) == [b"x" * 1000, b"", b"a"]
    stage.finish()


def test_frames_may_come_in_any_pieces(start):
    stage = start().begin()
    data = records_frame([b"echo:a", b"echo:" + b"b" * 300], first=1) + records_frame([b"echo:c"], first=3)
    stage.in_hand.update((1, 2, 3))
    for at in range(len(data)):
        stage.send(data[at:at + 1])
    stage.until_settled([1, 2, 3])
    assert outputs(stage, [1, 2, 3]) == [b"a", b"b" * 300, b"c"]
    stage.finish()


def test_an_output_that_belongs_to_no_record_goes_on_at_once(start):
    stage = start().begin(concurrency=2)
    (held,) = stage.give("hold:")
    stage.until(lambda: stage.outputs[0], "an output of no record")
    assert held in stage.in_hand
    stage.until_settled(stage.give("release:"))
    stage.finish()


# --- settling -----------------------------------------------------------------------------------------------------


def test_a_record_fails_with_its_reason(start):
    stage = start().begin()
    ids = stage.give("fail:no such user", "echo:b", "throw:it broke")
    stage.until_settled(ids)
    assert stage.failed[ids[0]] == "no such user" and "it broke" in stage.failed[ids[2]]
    assert stage.done == [ids[1]]
    again = stage.give("attempt:", first=ids[0], attempt=2)
    stage.until_settled(again)
    assert stage.outputs[ids[0]][-1] == b"%d 2" % ids[0]
    stage.finish()


def test_a_long_reason_is_cut(start):
    stage = start().begin()
    ids = stage.give("fail:" + "why " * 5000)
    stage.until_settled(ids)
    assert stage.failed[ids[0]].startswith("why why")
    stage.finish()


def test_records_are_settled_in_any_order(start):
    stage = start().begin(concurrency=4)
    ids = stage.give("hold:", "hold:", "echo:a", "release:")
    stage.until_settled(ids)
    assert stage.done == [ids[2], ids[1], ids[0], ids[3]]
    assert outputs(stage, ids[:2]) == [b"released"] * 2
    stage.finish()


def test_what_is_gathered_is_settled_when_nothing_more_can_be_handed_over(start):
    stage = start().begin(concurrency=10)
    ids = stage.give(*[f"batch:{number}" for number in range(25)])
    stage.end()
    assert stage.exit_status() == 0 and stage.finished, stage.described()
    assert outputs(stage, ids) == [b"%d" % number for number in range(25)]


def test_what_is_settled_later_is_said_at_once(start):
    stage = start().begin()
    ids = stage.give("later:50:a")
    begin = time.monotonic()
    stage.until_settled(ids)
    assert time.monotonic() - begin < 5
    assert outputs(stage, ids) == [b"a"]
    stage.finish()


@pytest.mark.parametrize("concurrency", [1, 100])
def test_what_is_settled_does_not_wait_for_handlers_that_block(start, concurrency):
    stage = start().begin(concurrency)
    ids = stage.give(*[f"block:40:{number}" for number in range(50)])
    stage.until_settled(ids)
    assert outputs(stage, ids) == [b"%d" % number for number in range(50)]
    # More than 20 ms after the sending before: so each is sent when its handler has returned.
    assert stage.done_frames == len(ids)
    stage.finish()


# --- concurrency, pause -------------------------------------------------------------------------------------------


def held(stage):
    return stage.outputs[0].count(b"held")


def test_no_more_is_worked_on_than_the_concurrency_says(start):
    stage = start().begin(concurrency=2)
    stage.give("hold:", "hold:", "hold:", "echo:a")
    stage.until(lambda: held(stage) == 2, "two that are held")
    stage.stands_still()
    assert held(stage) == 2 and stage.done == []


def test_one_at_a_time_unless_somebody_says_otherwise(start):
    stage = start().begin()
    assert stage.credits[-1][0] == 1
    ids = stage.give("later:100:a", "echo:b")
    stage.until_settled(ids)
    assert stage.done == ids
    stage.finish()


def test_concurrency_may_change(start):
    stage = start().begin(concurrency=1)
    stage.until_settled(stage.give("concurrency:3"))
    stage.until(lambda: stage.credits[-1][0] == 3, "the new concurrency")
    stage.give("hold:", "hold:", "hold:", "hold:")
    stage.until(lambda: held(stage) == 3, "three that are held")
    stage.stands_still()
    assert held(stage) == 3


def test_a_pause_takes_credit_back_and_holds_what_is_there(start):
    stage = start().begin(concurrency=1)
    ids = stage.give("pause:300", "echo:a", "echo:b")
    stage.until(lambda: stage.credits[-1][1] == 0, "credit for no record")
    assert stage.done in ([], ids[:1])
    stage.until_settled(ids)
    stage.until(lambda: stage.credits[-1][1] > 0, "credit")
    assert stage.done == ids
    stage.finish()


# --- the end ------------------------------------------------------------------------------------------------------


def test_the_end_waits_for_what_is_in_hand(start):
    stage = start("--last-words").begin(concurrency=3)
    ids = stage.give("later:200:a", "later:100:b", "echo:c", "echo:d")
    stage.end()
    assert stage.exit_status() == 0 and stage.finished, stage.described()
    assert outputs(stage, ids) == [b"a", b"b", b"c", b"d"]
    assert stage.outputs[0] == [b"last words"] and stage.order[-1] == ("output", 0)


def test_last_words_stand_behind_what_is_done(start):
    stage = start("--last-words").begin()
    stage.send(records_frame([b"echo:a", b"echo:b"], first=1) + frame(END))
    stage.in_hand.update((1, 2))
    assert stage.exit_status() == 0 and stage.finished, stage.described()
    assert stage.done == [1, 2] and stage.order[-1] == ("output", 0)


def test_an_end_without_records_is_one(start):
    stage = start().begin()
    stage.finish()
    assert stage.printed() == ""


def test_a_worker_may_leave(start):
    stage = start().begin()
    stage.until_settled(stage.give("leave:"))
    stage.until(lambda: stage.left, "its leave")
    stage.until(lambda: stage.credits[-1][1] == 0, "credit for no record")
    ids = stage.give("echo:on its way already")
    stage.until_settled(ids)
    assert not stage.finished
    stage.finish()


def test_cancel_ends_it_at_once_and_quietly(start):
    stage = start().begin(concurrency=2)
    stage.give("hold:", "later:60000:x")
    stage.until(lambda: held(stage), "one that is held")
    stage.send(frame(CANCEL))
    assert stage.exit_status() == 0
    assert stage.printed() == ""


def test_a_stage_that_is_gone_is_no_end(start):
    stage = start("--last-words").begin()
    stage.until_settled(stage.give("echo:a"))
    stage.hang_up()
    assert stage.exit_status() != 0
    assert "gone" in stage.printed()


def test_what_is_printed_is_none_of_the_protocol(start):
    stage = start().begin()
    stage.until_settled(stage.give("print:to stdout"))
    stage.finish()
    assert stage.printed("stdout") == "to stdout\n"


# --- a source -----------------------------------------------------------------------------------------------------


def test_a_source_writes_and_finishes(start):
    stage = start("--source", "50000")
    stage.begin()
    assert stage.hello.source and stage.credits == []
    assert stage.exit_status() == 0 and stage.finished
    assert stage.outputs[0] == [b"%d" % number for number in range(50000)]


def test_a_source_that_writes_little_sends_it_soon(start):
    stage = start("--source", "slow")
    stage.begin()
    stage.until(lambda: stage.outputs[0], "the first record")


def test_a_source_is_cancelled(start):
    stage = start("--source", "endless").begin()
    stage.until(lambda: len(stage.outputs[0]) > 1000, "records")
    stage.send(frame(CANCEL))
    assert stage.exit_status() == 0
    assert stage.printed() == ""


# --- flow control -------------------------------------------------------------------------------------------------


def test_a_worker_waits_while_nobody_reads_what_it_writes(start):
    stage = start().begin(concurrency=1)
    stage.until_settled(stage.give("echo:a"))
    before = stage.memory_bytes()
    ids = [record for _ in range(8) for record in stage.give(*["many:1000:" + "x" * 100] * 100)]
    stage.until_it_waits()  # with all of its 80 MB written, if it did not mind
    assert stage.memory_bytes() - before < 40 << 20
    stage.until_settled(ids)
    assert all(len(stage.outputs[record]) == 1000 for record in ids)
    stage.finish()


# --- a stage that breaks the rules --------------------------------------------------------------------------------


def test_another_version_is_refused_with_both(start):
    stage = start()
    stage.until(lambda: stage.hello, "a hello")
    stage.send(welcome_frame(major=2))
    assert stage.exit_status() != 0
    assert stage.refused and "version 2" in stage.refused and "version 2" in stage.printed()


def test_a_refusal_is_passed_on(start):
    stage = start()
    stage.until(lambda: stage.hello, "a hello")
    stage.send(frame(REFUSE, b"it is too early"))
    assert stage.exit_status() != 0
    assert "it is too early" in stage.printed()


BROKEN = {
    "text": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "kind": frame(99),
    "kind of a worker": frame(DONE, struct.pack(">QI", 1, 1)),
    "zeros": struct.pack(">IBBBB", 0, END, 0, 0, 1),
    "length": struct.pack(">IB3x", 0xffffffff, RECORDS),
    "length without records": struct.pack(">IB3x", 1 << 20, END) + b"x" * 100,
    "short records": frame(RECORDS, b"abc"),
    "no record": frame(RECORDS, struct.pack(">QII", 1, 1, 0)),
    "table": frame(RECORDS, struct.pack(">QII", 1, 1, 1000)),
    "huge table": frame(RECORDS, struct.pack(">QII", 1, 1, 0xffffffff)),
    "sizes": frame(RECORDS, struct.pack(">QIII", 1, 1, 1, 5) + b"abc"),
    "records behind the end": frame(END) + records_frame([b"echo:a"], first=1),
    "second welcome": welcome_frame(),
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_a_stage_that_breaks_a_rule_is_refused(start, data):
    stage = start().begin(concurrency=2)
    stage.give("later:2000:")  # so that no end is reached before
    stage.send(data)
    assert stage.exit_status() not in (0, -11, -6), "it must not crash, nor take this for an end"
    assert stage.refused and stage.printed()


@pytest.mark.parametrize("data", [records_frame([b"a"], first=1), frame(END), frame(WELCOME, b"SLWK"),
                                  frame(WELCOME, b"x" * 40), b"\0" * 64], ids=["records", "end", "short", "magic", "zeros"])
def test_what_is_no_welcome_is_refused(start, data):
    stage = start()
    stage.until(lambda: stage.hello, "a hello")
    stage.send(data)
    assert stage.exit_status() not in (0, -11, -6)
    assert stage.refused and stage.printed()
