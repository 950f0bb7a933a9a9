"""Whether a consumer keeps the rules of docs/protocol-records.md. README.md says what the client under test must do."""

import os
import struct

import pytest

from record_wire import (ACK, BATCH, CANCEL, CREDIT, DELIMITED, DONE, DRAIN, END, FAILED, FRAME_MAX, LONG, LOST,
                         MORE, NACK, NOTED, PAUSE, RECORD_MAX, REFUSED, RESUME, delimited_batch, first_answer, frame, head,
                         long_record, number_frame, sized_batch, table)

EVERY_BYTE = bytes(range(256))


def long_frames(delivery, first_id, records, attempt=1):
    (record,) = records
    return long_record(delivery, first_id, record, attempt)


# --- before the first frame ---------------------------------------------------------------------------------------


def test_it_claims_its_link_and_attaches_first(consume):
    link = consume()
    assert link.attempt == 1 and link.connection.expected == 1
    records, size = link.until_said(CREDIT)
    assert records >= 4 and size >= 16 << 10
    link.finish()


def test_its_generation_is_what_it_was_told(consume):
    link = consume(generation=70000)
    link.finish()


@pytest.mark.parametrize("status, major", [(2, 1), (1, 2)])
def test_a_refusal_is_passed_on(consume, status, major):
    link = consume(attach=False)
    link.await_first_frame()
    link.answer(first_answer(status, b"it is too early", major))
    link.connection.close()
    link.world.fails("it is too early")


def test_the_answer_may_come_in_pieces(consume):
    link = consume(attach=False)
    link.await_first_frame()
    for byte in first_answer():
        link.answer(bytes([byte]))
        link.world.pump(0.002)
    assert link.await_attach() == 1
    link.finish()


def test_frames_may_follow_the_answer_at_once(consume):
    link = consume(attach=False)
    link.await_first_frame()
    link.answer(first_answer() + frame(CANCEL, b"never mind"))
    link.until_closed()
    link.world.fails("never mind")


def test_a_connection_that_is_closed_before_the_answer_is_dialled_again(consume):
    link = consume(attach=False)
    link.await_first_frame()
    link.connection.close()
    link.accept()
    assert link.attempt == 2
    link.finish()


# --- records ------------------------------------------------------------------------------------------------------


def test_sized_records_are_any_bytes(consume):
    link = consume().automatically()
    link.give([EVERY_BYTE, b"\n\0\r\n"])
    link.give([os.urandom(1000), "ü".encode()], first_id=9, attempt=3)
    link.until_came()
    link.finish()


@pytest.mark.parametrize("delimiter", [b"\n", b"\0", b"x", b"\xff"])
def test_delimited_records_keep_their_delimiter(consume, delimiter):
    link = consume().automatically()
    link.give([b"a" + delimiter, delimiter, b"b\r\t" + delimiter], batch=delimited_batch)
    link.until_came()
    link.finish()


def test_records_may_be_empty(consume):
    link = consume().automatically()
    link.give([b"", b"a", b""])
    link.give([b"", b""])
    link.give([b""])
    link.until_came()
    link.finish()


def test_ids_and_attempts_are_what_the_producer_says(consume):
    link = consume().automatically()
    for first_id, attempt in [(5, 1), (2**32 - 1, 2), (2**40, 65535), (3, 7), (2**64 - 3, 1)]:
        link.give([b"a", b"b"], first_id=first_id, attempt=attempt)
    link.until_came()
    link.finish()


def test_a_record_may_fill_a_frame(consume):
    link = consume().automatically()
    link.give([os.urandom(FRAME_MAX - 24 - 4)])
    link.give([b"y" * (FRAME_MAX - 24 - 1) + b"\n"], batch=delimited_batch)
    link.until_came()
    link.finish()


def test_a_record_may_be_longer_than_a_frame(consume):
    link = consume().automatically()
    for size in (1, FRAME_MAX - 32, FRAME_MAX - 31, 3 * FRAME_MAX + 5):
        link.give([os.urandom(size)], batch=long_frames)
    line = b"z" * (2 * FRAME_MAX) + b"\n"
    link.give([line], batch=lambda delivery, first, records, attempt: long_record(
        delivery, first, records[0], attempt, DELIMITED, b"\n", piece=100))
    link.until_came()
    link.finish()


def test_the_longest_record_is_taken(consume):
    link = consume().automatically()
    link.give([os.urandom(FRAME_MAX) * (RECORD_MAX // FRAME_MAX)], batch=long_frames)
    link.give([b"behind it"])
    link.until_came()
    link.finish()


def test_frames_may_come_one_byte_at_a_time(consume):
    link = consume()
    link.await_credit(4, 400)
    data = (sized_batch(1, 1, [b"a" * 100, b""]) + delimited_batch(3, 3, [b"b\n"]) +
            b"".join(long_record(4, 4, b"c" * 50, piece=10)))
    link.note_given(1, [b"a" * 100, b""])
    link.note_given(3, [b"b\n"])
    link.note_given(4, [b"c" * 50])
    for byte in data:
        link.send(bytes([byte]))
        link.world.pump(0)
    link.until_came()
    link.automatically()
    link.finish()


def test_frames_may_come_all_at_once(consume):
    link = consume()
    link.await_credit(4, 16)
    records = [b"%d" % number for number in range(4)]
    data = b""
    for record in records:
        data += sized_batch(link.given + 1, link.given + 1, [record])
        link.note_given(link.given + 1, [record])
    link.send(data)
    link.until_came()
    link.automatically()
    link.until_acked(1, 2, 3, 4)
    link.finish()


def test_thousands_of_records(consume):
    link = consume().automatically()
    number = 0
    while number < 2000:
        link.await_credit(1, 10)
        count = min(link.credit[0] - link.given, 500, (link.credit[1] - link.given_bytes) // 10)
        link.give([b"%d\n" % (number + i) for i in range(count)], batch=delimited_batch)
        number += count
    link.until_came()
    link.finish()


# --- credit -------------------------------------------------------------------------------------------------------


def test_credit_is_for_what_is_not_settled(consume):
    link = consume()
    link.until_said(CREDIT)
    link.give([b"a", b"b", b"c", b"d"])
    link.until_came()
    link.world.stands_still()
    before = link.credits[-1]
    link.settle(1, 4)
    link.world.until(lambda: link.credit[0] >= before[0] + 4, "credit for four more")


def test_credit_for_bytes_follows_what_is_settled(consume):
    link = consume()
    link.until_said(CREDIT)
    before = link.credits[-1]
    record = b"x" * before[1]
    link.give([record], batch=sized_batch if before[1] < 1 << 19 else long_frames)
    link.until_came()
    link.settle(1)
    link.world.until(lambda: link.credit[1] >= before[1] + len(record), "credit for as many bytes more")


def test_no_credit_comes_while_nothing_is_settled(consume):
    link = consume()
    link.until_said(CREDIT)
    while link.given < link.credit[0] and link.given < 2000:
        link.give([b"x"] * min(100, link.credit[0] - link.given))
        link.until_came()
        link.world.stands_still(0.05)
    # One that grants for ever without settling has no window.
    assert link.given < 2000
    link.settle(1, link.given)
    link.await_credit(1, 1)
    link.automatically()
    link.finish()


def test_one_record_may_be_longer_than_all_credit(consume):
    link = consume()
    link.until_said(CREDIT)
    link.give([b"x" * (link.credit[1] + 1)], batch=long_frames)
    link.until_came()
    link.settle(1)
    link.until_acked(1)
    link.world.until(lambda: link.credit[1] > link.given_bytes, "credit for bytes")
    link.give([b"y" * (link.credit[1] - link.given_bytes + 1)], batch=long_frames)
    link.until_came()
    link.automatically()
    link.finish()


# --- settling -----------------------------------------------------------------------------------------------------


def test_nothing_is_acknowledged_before_its_program_settles_it(consume):
    link = consume()
    link.give([b"a", b"b"])
    link.until_came()
    link.world.stands_still()
    assert not link.acked
    link.settle(1, 2)
    link.until_acked(1, 2)
    link.finish()


def test_acknowledgements_are_single_and_cumulative(consume):
    link = consume()
    link.give([b"a", b"b", b"c", b"d"])
    link.until_came()
    link.settle(3)
    link.until_acked(3)
    link.settle(1)
    link.until_acked(1)
    link.settle(2)
    link.until_acked(2)
    link.settle(4)
    link.until_acked(4)
    up_to, ranges = [meaning for kind, meaning in link.connection.said if kind == ACK][-1]
    assert (up_to, ranges) == (4, []), "all are settled"
    link.finish()


@pytest.mark.parametrize("cause, name", [(FAILED, "failed"), (LOST, "lost"), (REFUSED, "refused")])
def test_a_record_is_sent_back_with_its_cause(consume, cause, name):
    link = consume()
    link.give([b"a", b"b", b"c"])
    link.until_came()
    link.reject(2, name, "no such user: ü")
    link.until_said(NACK)
    assert link.nacks == [(2, cause, "no such user: ü")]
    link.settle(1)
    link.settle(3)
    link.until_acked(1, 3)
    link.world.stands_still(0.1)
    link.note(2)
    link.finish()


def test_a_long_reason_is_cut(consume):
    link = consume()
    link.give([b"a"])
    link.until_came()
    link.reject(1, "failed", "why " * 5000)
    (delivery, _, why) = link.until_said(NACK)
    assert delivery == 1 and why.startswith("why why")
    link.note(1)
    link.finish()


def test_what_was_noted_makes_room(consume):
    link = consume()
    link.give([b"a", b"b", b"c", b"d"])
    link.until_came()
    before = link.credit[0]
    for delivery in range(1, 5):
        link.reject(delivery, "failed", "no")
    link.world.until(lambda: len(link.nacks) == 4, "four that are sent back")
    for delivery in range(1, 5):
        link.note(delivery)
    link.world.until(lambda: link.credit[0] >= before + 4, "credit for four more")
    link.finish()


def test_a_record_that_was_sent_back_may_come_again(consume):
    link = consume()
    link.give([b"a"])
    link.until_came()
    link.reject(1, "failed", "no")
    link.until_said(NACK)
    link.note(1)
    link.give([b"a"], first_id=1, attempt=2)
    link.until_came()
    link.settle(2)
    link.until_acked(2)
    link.finish()


# --- pause, drain, cancel, end ------------------------------------------------------------------------------------


def test_pause_and_resume_are_said(consume):
    link = consume().automatically()
    link.world.type(b"pause\n")
    link.until_said(PAUSE)
    link.world.type(b"resume\n")
    link.until_said(RESUME)
    link.give([b"a"])
    link.until_came()
    link.finish()


def test_drain_is_said_and_the_end_confirmed(consume):
    link = consume()
    link.give([b"a", b"b"])
    link.until_came()
    link.world.type(b"drain\n")
    link.until_said(DRAIN)
    link.settle(1, 2)
    link.finish()


def test_cancel_stands_behind_what_is_settled(consume):
    link = consume()
    link.give([b"a", b"b"])
    link.until_came()
    link.settle(1)
    link.world.type(b"cancel its stage was stopped\n")
    assert link.until_said(CANCEL) == "its stage was stopped"
    assert link.acked == {1}, "what is settled is said before"
    link.until_closed()
    link.world.fails("its stage was stopped")


def test_the_end_is_confirmed_with_its_count(consume):
    link = consume().automatically()
    link.give([b"a", b"b", b"c"])
    link.until_acked(1, 2, 3)
    link.finish()
    assert link.until_said(DONE) == 3


def test_an_end_without_records_is_one(consume):
    link = consume()
    link.finish()
    assert link.came() == []


def test_the_producers_cancel_is_no_end(consume):
    link = consume().automatically()
    link.give([b"a"])
    link.until_acked(1)
    link.cancel(b"the disk is on fire")
    link.until_closed()
    link.world.fails("the disk is on fire")


def test_cancel_may_stand_within_a_long_record(consume):
    link = consume()
    link.await_credit(1, 10)
    link.send(long_record(1, 1, b"x" * 100, piece=10)[0] + frame(CANCEL, b"the source is gone"))
    link.until_closed()
    link.world.fails("the source is gone")
    assert link.came() == []


# --- connections that break ---------------------------------------------------------------------------------------


def batch_of(link, records):
    return sized_batch(link.given + 1, link.given + 1, records)


def test_a_cut_in_any_frame_loses_and_repeats_nothing(consume):
    link = consume().automatically()
    for make in (batch_of, lambda of, records: delimited_batch(of.given + 1, of.given + 1, records)):
        for part in (0, 1, 3, 4, 20, 28, 30, None):  # of the frame: before it, in its header, head, records, behind it
            records = [b"%d,%s\n" % (link.given, str(part).encode()), b"b\n"]
            link.await_credit(2, 40)
            link.until_said(CREDIT)  # then it writes nothing more, and reads what comes before the cut
            data = make(link, records)
            if part is None:
                link.note_given(link.given + 1, records)
                link.send(data)
                link.until_came()
            else:
                link.send(data[:part])
            due = link.given + 1
            assert link.reconnect().connection.expected == due, f"after {part} bytes of a batch"
            link.give([b"c"])
            link.until_came()
    link.finish()


def test_a_cut_within_a_long_record_begins_it_again(consume):
    link = consume().automatically()
    record = os.urandom(5000)
    for pieces in (1, 2, 3, None):
        link.await_credit(1, len(record))
        link.until_said(CREDIT)
        head_frame, rest = long_record(link.given + 1, link.given + 1, record, piece=1000)
        frames = [head_frame, frame(MORE, rest[4:1004]), frame(MORE, rest[1004:2004]), frame(MORE, rest[2004:])]
        if pieces is None:
            link.note_given(link.given + 1, [record])
        link.send(b"".join(frames[:pieces])[:None if pieces is None else -1])
        if pieces is None:
            link.until_came()
        due = link.given + 1
        assert link.reconnect().connection.expected == due
    link.give([b"behind it"])
    link.until_came()
    link.finish()


def test_a_new_connection_says_again_what_still_holds(consume):
    link = consume()
    link.give([b"a", b"b", b"c", b"d"])
    link.until_came()
    link.settle(1)
    link.settle(3)
    link.reject(2, "lost", "its program was killed")
    link.until_acked(1, 3)
    link.until_said(NACK)
    link.world.type(b"pause\ndrain\n")
    link.until_said(DRAIN)
    link.until_said(PAUSE)
    before = link.credit
    for _ in range(3):
        assert link.reconnect().connection.expected == 5
        assert link.until_said(ACK) == (1, [(3, 3)])
        assert link.until_said(NACK) == (2, LOST, "its program was killed")
        assert link.until_said(CREDIT) >= before
        link.until_said(PAUSE)
        link.until_said(DRAIN)
    link.note(2)
    link.settle(4)
    link.finish()


def test_what_was_noted_is_not_sent_back_again(consume):
    link = consume()
    link.give([b"a", b"b"])
    link.until_came()
    link.reject(1, "failed", "no")
    link.until_said(NACK)
    link.note(1)
    link.settle(2)
    link.until_acked(1, 2)
    link.reconnect()
    link.until_said(ACK)
    link.world.stands_still(0.1)
    assert NACK not in link.connection.kinds()
    link.finish()


def test_the_end_says_that_all_was_noted(consume):
    link = consume()
    link.give([b"a", b"b"])
    link.until_came()
    link.reject(1, "failed", "no")
    link.until_said(NACK)
    link.settle(2)
    link.until_acked(2)
    link.reconnect()
    link.until_said(NACK)
    link.noted.add(1)  # as if it had been said on a connection that broke
    link.finish()


def test_noted_may_come_twice(consume):
    link = consume()
    link.give([b"a"])
    link.until_came()
    link.reject(1, "failed", "no")
    link.until_said(NACK)
    link.note(1)
    link.note(1)
    link.give([b"b"])
    link.until_came()
    link.automatically()
    link.finish()


def test_a_connection_that_breaks_is_never_an_end(consume):
    link = consume().automatically()
    link.give([b"a"])
    link.until_acked(1)
    link.cut()
    link.await_first_frame()
    assert link.world.program.result() is None
    link.answer()
    link.await_attach()
    link.finish()


def test_a_refusal_when_it_comes_back_ends_it(consume):
    link = consume().automatically()
    link.give([b"a"])
    link.until_acked(1)
    link.cut()
    link.await_first_frame()
    link.answer(first_answer(2, b"generation 1 was replaced"))
    link.connection.close()
    link.world.fails("generation 1 was replaced")


# --- a producer that breaks the rules -----------------------------------------------------------------------------


def records_head(delivery=1, first=1, count=1, **options):
    return head(delivery, first, count, **options)


BROKEN = {
    "a kind that there is not": frame(15),
    "kind 0": frame(0),
    "another protocol": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "a consumer's frame": number_frame(ACK, 0),
    "a batch longer than a frame may be": b"\x01\x10\x00\x01",
    "a batch without records": frame(BATCH, records_head(count=1)),
    "a batch of none": frame(BATCH, records_head(count=0) + b"x"),
    "a cancel with a long reason": b"\x05\x00\x04\x01",
    "an end of 7 bytes": frame(END, bytes(7)),
    "an end of 9 bytes": frame(END, bytes(9)),
    "a noted of 0 bytes": frame(NOTED),
    "a delivery that is 0": sized_batch(0, 1, [b"a"]),
    "an id that is 0": sized_batch(1, 0, [b"a"]),
    "an id beyond all": sized_batch(1, 2**64 - 1, [b"a", b"b"]),
    "a gap in the deliveries": sized_batch(2, 2, [b"a"]),
    "a delivery beyond all": sized_batch(2**64 - 1, 1, [b"a"]),
    "an unknown flag": sized_batch(1, 1, [b"a"], flags=8),
    "sized records with a delimiter": frame(BATCH, records_head(delimiter=b"\n") + table([b"a"]) + b"a"),
    "lengths that do not add up": frame(BATCH, records_head() + table([b"ab"]) + b"a"),
    "bytes behind the records": frame(BATCH, records_head() + table([b"a"]) + b"ab"),
    "a table that is cut off": frame(BATCH, records_head(count=2) + table([b""]) + b"abc"),
    "a count beyond the frame": frame(BATCH, records_head(count=2**32 - 1) + table([b"a"]) + b"a"),
    "delimited without a delimiter": frame(BATCH, records_head(flags=DELIMITED, delimiter=b"\n") + b"a"),
    "fewer delimited than it says": frame(BATCH, records_head(count=2, flags=DELIMITED, delimiter=b"\n") + b"a\n"),
    "more delimited than it says": frame(BATCH, records_head(flags=DELIMITED, delimiter=b"\n") + b"a\nb\n"),
    "more without a long record": frame(MORE, b"a"),
    "a long record of two": frame(LONG, records_head(count=2) + struct.pack(">Q", 4) + b"abcd"),
    "a long record longer than it says": frame(LONG, records_head() + struct.pack(">Q", 2) + b"abc"),
    "more than the long record": frame(LONG, records_head() + struct.pack(">Q", 4) + b"abc") + frame(MORE, b"de"),
    "a batch within a long record": frame(LONG, records_head() + struct.pack(">Q", 4) + b"abc") + sized_batch(1, 1, [b"a"]),
    "an end within a long record": frame(LONG, records_head() + struct.pack(">Q", 4) + b"abc") + number_frame(END, 0),
    "a record that is too long": frame(LONG, records_head() + struct.pack(">Q", RECORD_MAX + 1) + b"abc"),
    "a long record of absurd length": frame(LONG, records_head() + struct.pack(">Q", 2**64 - 1) + b"abc"),
    "a delimiter within a long record": frame(LONG, records_head(flags=DELIMITED, delimiter=b"\n") +
                                              struct.pack(">Q", 4) + b"a\nb\n"),
    "the end of other deliveries": number_frame(END, 1),
    "noted what was not sent back": number_frame(NOTED, 1),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_producer_that_breaks_a_rule_is_left(consume, what):
    link = consume()
    link.until_said(CREDIT)
    link.send(BROKEN[what])
    link.is_left()
    assert link.came() == []


def test_more_records_than_were_granted_are_refused(consume):
    link = consume()
    link.until_said(CREDIT)
    link.world.stands_still(0.05)
    link.send(sized_batch(1, 1, [b"x"] * (link.credit[0] + 1)))
    link.is_left()


def test_more_bytes_than_were_granted_are_refused(consume):
    link = consume()
    link.give([b"a"])
    link.until_came()
    link.world.stands_still(0.05)
    link.send(b"".join(long_record(2, 2, b"x" * link.credit[1])))
    link.is_left()


def test_a_delivery_that_comes_again_is_refused(consume):
    link = consume().automatically()
    link.give([b"a"])
    link.until_acked(1)
    link.send(sized_batch(1, 1, [b"a"]))
    link.is_left()


def test_an_end_before_everything_is_acknowledged_is_refused(consume):
    link = consume()
    link.give([b"a"])
    link.until_came()
    link.send(number_frame(END, 1))
    link.is_left()


def test_a_producer_that_breaks_a_rule_is_told_what_was_settled(consume):
    link = consume()
    link.give([b"a", b"b"])
    link.until_came()
    link.settle(1)
    link.until_acked(1)
    link.send(frame(15))
    assert link.until_said(CANCEL)
    link.is_left()


def test_an_answer_of_another_protocol_is_none(consume):
    link = consume(attach=False)
    link.await_first_frame()
    link.answer(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    link.world.fails()
