"""Whether a producer keeps the rules of docs/protocol-records.md. README.md says what the client under test must do."""

import os
import signal
import struct

import pytest

from record_wire import (ACK, ATTACH, CREDIT, CREDIT_BYTES_MAX, CREDIT_RECORDS_MAX, DONE, FAILED, FEW_BYTES_LEFT,
                         FRAME_MAX, HEAD_SIZE, LOST, NO_RECORDS_LEFT, PAUSE, RECORD_MAX, REFUSED, RESUME, Refused,
                         ack_frame, claim, first_frame, frame, nack_frame, number_frame, sized_batch)
from record_world import LINKS, TOKEN
from scripted_consumer import Connection


def numbers(count, begin=0):
    return [b"%d" % number for number in range(begin, begin + count)]


def granting(link, records, size=1 << 30, number=0):
    return link.consumer(number, credit=(records, size))


# --- before the first frame ---------------------------------------------------------------------------------------


def answer_to(link, data):
    """(status, version, why) of a connection that says this; None: it was closed without."""
    class Stranger:
        world, number = link.world, "none"
    talk = Connection(Stranger, link.knock())
    talk.send(data)
    link.world.until(lambda: talk.answer or talk.silent, "an answer, or a close")
    answer, closes = talk.answer, talk
    if answer is None or answer[0] != 0:
        link.world.until(lambda: closes.silent, "the connection that was refused to be closed")
    talk.close()
    return answer


def answered(link, data):
    answer = answer_to(link, data)
    assert answer, "it was closed without an answer"
    return answer


def good_claim(**different):
    return claim(**{"link": LINKS[0], "generation": 1, "attempt": 1, "token": TOKEN, "side": 2, **different})


def test_a_claim_is_accepted(produce):
    link = produce().give(b"a", end=True)
    link.consumer().works_off()
    link.world.ends_well()


def test_another_protocol_is_closed_at_once(produce):
    link = produce()
    assert answer_to(link, b"GET / HTTP/1.1\r\n") is None
    assert answer_to(link, b"SLUX") is None


def test_another_major_version_is_answered_with_ours(produce):
    link = produce()
    status, version, _ = answered(link, first_frame(good_claim(), major=2))
    assert (status, version) == (1, (1, 0))


def test_a_later_minor_version_speaks_ours(produce):
    link = produce()
    status, version, _ = answered(link, first_frame(good_claim(), minor=9))
    assert (status, version) == (0, (1, 0))


@pytest.mark.parametrize("what, different", [
    ("token", {"token": bytes(32)}), ("last byte of the token", {"token": TOKEN[:-1] + b"\0"}),
    ("link", {"link": LINKS[2]}), ("side", {"side": 1}), ("side that there is not", {"side": 3})])
def test_a_claim_with_another_thing_is_refused(produce, what, different):
    link = produce()
    status, _, why = answered(link, first_frame(good_claim(**different)))
    assert status == 2 and why, f"another {what} is accepted"
    link.consumer()


@pytest.mark.parametrize("change", [lambda body: body[:-1], lambda body: body + b"\0", lambda body: b""])
def test_a_claim_of_another_length_is_refused(produce, change):
    link = produce()
    assert answered(link, first_frame(change(good_claim())))[0] == 2, "a claim of another length is accepted"
    link.consumer()


def test_another_use_is_refused(produce):
    link = produce()
    assert answered(link, first_frame(good_claim(), use=2))[0] == 2, "a byte link is accepted"


def test_an_earlier_attempt_is_refused(produce):
    link = produce()
    consumer = link.consumer()
    consumer.reconnect()
    for attempt in (1, 2):
        assert answered(link, first_frame(good_claim(attempt=attempt)))[0] == 2, "an earlier attempt is accepted"
    link.give(b"a", end=True)
    consumer.works_off()
    link.world.ends_well()


def test_the_first_frame_may_come_in_pieces_and_frames_behind_it(produce):
    link = produce().give(b"a", end=True)
    consumer = link.consumer(attach=False)
    consumer.cut()
    consumer.attempt += 1
    consumer.connection = Connection(consumer, link.knock())
    data = first_frame(consumer.claim())
    for begin, end in [(0, 1), (1, 5), (5, 20), (20, 60)]:
        consumer.send(data[begin:end])
        link.world.stands_still(0.03)
    # The rest of it with all that is said next, in one write.
    consumer.connection.unsent += data[60:] + number_frame(ATTACH, 1)
    consumer.connection.attached = True
    consumer.credit(10)
    consumer.works_off()
    link.world.ends_well()


# --- records ------------------------------------------------------------------------------------------------------


def test_records_are_any_bytes_and_may_be_empty(produce):
    records = [bytes(range(256)), b"", b"\n\0\r\n", b"", "ü".encode(), b""]
    link = produce().give(*records, end=True)
    consumer = link.consumer()
    consumer.works_off()
    assert consumer.ids() == [1, 2, 3, 4, 5, 6]
    assert set(consumer.attempts()) == {1}
    link.world.ends_well()


def test_lines_keep_their_ends(produce):
    link = produce(lines=True).give(*[b"%d\n" % number for number in range(5000)], b"\n", end=True)
    consumer = link.consumer()
    consumer.works_off()
    assert consumer.ids() == list(range(1, 5002))
    link.world.ends_well()


def test_many_records_come_in_order(produce):
    link = produce().give(*numbers(20000), end=True)
    consumer = link.consumer()
    consumer.works_off()
    assert consumer.ids() == list(range(1, 20001))
    link.world.ends_well()


@pytest.mark.parametrize("size", [FRAME_MAX - HEAD_SIZE - 4, FRAME_MAX - HEAD_SIZE - 3, 3 * FRAME_MAX + 5])
def test_a_record_fills_a_frame_or_takes_several(produce, size):
    link = produce().give(b"before", os.urandom(size), b"behind", end=True)
    link.consumer().works_off()
    link.world.ends_well()


def test_a_long_line_takes_several_frames(produce):
    link = produce(lines=True).give(b"x" * (2 * FRAME_MAX) + b"\n", b"short\n", end=True)
    link.consumer().works_off()
    link.world.ends_well()


def test_the_longest_record_is_sent(produce):
    link = produce().give(os.urandom(FRAME_MAX) * (RECORD_MAX // FRAME_MAX), b"behind it", end=True)
    link.consumer().works_off()
    link.world.ends_well()


def test_a_link_without_records_has_an_end(produce):
    link = produce()
    link.end_input()
    consumer = link.consumer()
    consumer.leave()
    assert consumer.last == 0
    link.world.ends_well()


# --- credit -------------------------------------------------------------------------------------------------------


def test_nothing_is_sent_before_attach_and_credit(produce):
    link = produce().give(*numbers(10))
    consumer = link.consumer(attach=False)
    link.world.stands_still()
    consumer.attach()
    link.world.stands_still()
    consumer.credit(10)
    consumer.until_came(10)


def test_no_more_records_are_sent_than_were_granted(produce):
    link = produce().give(*numbers(100))
    consumer = link.consumer(credit=None)
    for granted in (1, 2, 5, 40, 100):
        consumer.credit(granted)
        consumer.until_came(granted)
        link.world.stands_still(0.05)


def test_no_more_bytes_are_sent_than_were_granted(produce):
    link = produce().give(*[b"x" * 1000] * 50)
    consumer = granting(link, 1000, 10_500)
    consumer.until_came(10)
    link.world.stands_still(0.1)
    assert consumer.last == 10
    consumer.credit(1000, 20_000)
    consumer.until_came(20)
    link.world.stands_still(0.05)
    assert consumer.last == 20


def test_settling_gives_no_credit(produce):
    link = produce().give(*numbers(10))
    consumer = granting(link, 4).until_came(4)
    consumer.ack(4)
    link.world.stands_still()
    consumer.credit(5)
    consumer.until_came(5)


def test_a_record_longer_than_all_credit_comes_alone(produce):
    link = produce().give(b"a", b"x" * 5000, b"b", b"y" * (2 * FRAME_MAX), end=True)
    consumer = granting(link, 100, 1000).until_came(1)
    link.world.stands_still()
    assert consumer.last == 1, "it waits until nothing else is unsettled"
    consumer.ack(1)
    consumer.until_came(2)
    link.world.stands_still(0.05)
    assert consumer.last == 2
    consumer.ack(2)
    consumer.credit(100, 6001)
    consumer.until_came(3)
    link.world.stands_still(0.05)
    assert consumer.last == 3
    consumer.ack(3)
    consumer.until_came(4)
    consumer.works_off()
    link.world.ends_well()


def test_the_flags_say_which_credit_is_used_up(produce):
    link = produce().give(*[b"x" * 100] * 3)
    consumer = granting(link, 3, 1 << 20).until_came(3)
    assert consumer.flights[-1][3] & (NO_RECORDS_LEFT | FEW_BYTES_LEFT) == NO_RECORDS_LEFT
    assert not any(flags & NO_RECORDS_LEFT for *_, flags in consumer.flights[:-1])
    consumer.credit(10, 1 << 20)
    link.world.stands_still(0.05)
    link.give(b"y" * 100)
    consumer.until_came(4)
    assert consumer.flights[-1][3] & (NO_RECORDS_LEFT | FEW_BYTES_LEFT) == 0
    other = produce().give(b"z" * 600)
    consumer = granting(other, 100, 1000).until_came(1)
    assert consumer.flights[-1][3] & (NO_RECORDS_LEFT | FEW_BYTES_LEFT) == FEW_BYTES_LEFT


def test_credit_lasts_over_connections(produce):
    link = produce().give(*numbers(3))
    consumer = granting(link, 5).until_came(3)
    consumer.reconnect()
    link.give(*numbers(10))
    consumer.until_came(5)
    link.world.stands_still(0.1)


def test_without_credit_its_source_is_read_no_more(produce):
    link = produce()
    consumer = granting(link, 10)
    link.give(*[b"x" * 10_000] * 600)
    consumer.until_came(10)
    link.world.stands_still(0.3)
    assert link.world.untyped() > 3_000_000, "it reads what nobody has granted credit for"
    consumer.credit(1000)
    consumer.until_came(600)
    assert link.world.untyped() == 0


# --- settling -----------------------------------------------------------------------------------------------------


def test_the_end_waits_for_every_acknowledgement(produce):
    link = produce().give(*numbers(6), end=True)
    consumer = link.consumer().until_came(6)
    consumer.ack(3, (5, 6))
    link.world.stands_still()
    assert consumer.connection.ended is None
    consumer.ack(6)
    consumer.leave()
    link.world.ends_well()


def test_the_end_waits_for_its_source(produce):
    link = produce().give(*numbers(3))
    consumer = link.consumer().until_came(3)
    consumer.ack(3)
    link.world.stands_still(0.1)
    assert consumer.connection.ended is None
    link.end_input()
    consumer.leave()
    link.world.ends_well()


def test_single_acknowledgements_settle(produce):
    link = produce().give(*numbers(9), end=True)
    consumer = link.consumer().until_came(9)
    consumer.ack(0, (2, 2), (4, 4), (6, 9))
    consumer.ack(0, (2, 4))
    consumer.ack(4)
    consumer.ack(4, (6, 6))
    link.world.stands_still(0.1)
    consumer.ack(5)
    consumer.leave()
    link.world.ends_well()


def test_what_was_acknowledged_may_be_acknowledged_again(produce):
    link = produce().give(*numbers(4), end=True)
    consumer = link.consumer().until_came(4)
    for _ in range(3):
        consumer.ack(0)
        consumer.ack(2, (4, 4))
        consumer.ack(1)
    consumer.ack(4)
    consumer.leave()
    link.world.ends_well()


@pytest.mark.parametrize("cause", [FAILED, LOST])
def test_a_record_that_is_sent_back_is_given_again(produce, cause):
    link = produce().give(*numbers(3), end=True)
    consumer = link.consumer().until_came(3)
    consumer.nack(2, cause)
    consumer.until_noted(2).until_came(4)
    assert consumer.came[4][:2] == (2, 2), "the same id, at its second attempt"
    consumer.nack(4, cause)
    consumer.until_noted(4).until_came(5)
    assert consumer.came[5][:2] == (2, 3)
    consumer.ack(1, (3, 3), (5, 5))
    consumer.leave()
    link.world.ends_well()


def test_a_record_that_was_refused_is_given_up(produce):
    link = produce().give(*numbers(3), end=True)
    consumer = link.consumer().until_came(3)
    consumer.nack(2, REFUSED)
    consumer.until_noted(2)
    consumer.ack(1, (3, 3))
    consumer.leave()
    assert consumer.ids() == [1, 2, 3]
    link.world.ends_well()


def test_a_nack_that_is_said_again_is_noted_again(produce):
    link = produce().give(*numbers(2), end=True)
    consumer = link.consumer().until_came(2)
    consumer.nack(1, REFUSED)
    consumer.until_noted(1)
    consumer.reconnect()
    consumer.nack(1, REFUSED)
    link.world.until(lambda: consumer.noted == [1, 1], "noted again")
    consumer.ack(2)
    consumer.leave()
    link.world.ends_well()


def test_a_nack_of_what_was_acknowledged_changes_nothing(produce):
    link = produce().give(*numbers(2), end=True)
    consumer = link.consumer().until_came(2)
    consumer.ack(1)
    consumer.nack(1, FAILED)
    consumer.until_noted(1)
    consumer.ack(2)
    consumer.leave()
    assert consumer.ids() == [1, 2]
    link.world.ends_well()


def test_a_record_that_was_sent_back_is_settled_for_its_delivery(produce):
    """Its number may be acknowledged with those below and above it."""
    link = produce().give(*numbers(3), end=True)
    consumer = link.consumer().until_came(3)
    consumer.nack(2, FAILED)
    consumer.until_noted(2).until_came(4)
    consumer.ack(4)
    consumer.leave()
    link.world.ends_well()


# --- several consumers --------------------------------------------------------------------------------------------


def test_consumers_share_the_records(produce):
    link = produce(consumers=3).give(*numbers(3000), end=True)
    consumers = [link.consumer(number, credit=(1000, 1 << 30)) for number in range(3)]
    link.world.until(lambda: sum(consumer.last for consumer in consumers) == 3000, "all records")
    assert all(consumer.last > 0 for consumer in consumers)
    assert sorted(sum((consumer.ids() for consumer in consumers), [])) == list(range(1, 3001))
    consumers[0].ack(consumers[0].last)
    consumers[1].ack(consumers[1].last)
    link.world.stands_still(0.1)
    assert all(consumer.connection.ended is None for consumer in consumers), "one has not settled what it has"
    consumers[2].ack(consumers[2].last)
    for consumer in consumers:
        consumer.leave()
    link.world.ends_well()


def test_credit_is_of_one_consumer(produce):
    link = produce(consumers=2).give(*numbers(100))
    first, second = granting(link, 50), granting(link, 3, number=1)
    first.until_came(50)
    second.until_came(3)
    link.world.stands_still(0.1)


def test_what_a_consumer_gives_up_goes_to_another_before_anything_newer(produce):
    link = produce(consumers=2).give(*numbers(20), end=True)
    first = granting(link, 8).until_came(8)
    first.ack(2, (5, 5))
    first.cancel()
    first.until_closed()
    second = link.consumer(1)
    second.until_came(17)
    assert second.ids() == [3, 4, 6, 7, 8, *range(9, 21)]
    assert {attempt for *_, attempt, _ in [second.came[delivery] for delivery in (1, 2, 3, 4, 5)]} == {2}
    assert second.came[17][1] == 1
    second.works_off()
    link.world.ends_well()


def test_a_consumer_that_breaks_a_rule_harms_no_other(produce):
    link = produce(consumers=2).give(*numbers(20), end=True)
    bad = granting(link, 5).until_came(5)
    good = granting(link, 3, number=1).until_came(3)
    bad.send(ack_frame(6))
    bad.is_told("6")
    good.credit(1000)
    good.works_off()
    assert sorted(good.ids()) == list(range(1, 21))
    link.world.ends_well()


# --- generations --------------------------------------------------------------------------------------------------


def test_a_later_generation_begins_anew_and_takes_what_was_not_settled(produce):
    link = produce().give(*numbers(6), end=True)
    first = granting(link, 4).until_came(4)
    first.ack(1)
    link.world.stands_still(0.05)
    second = link.consumer(generation=7)
    first.until_closed()
    second.until_came(5)
    assert second.ids() == [2, 3, 4, 5, 6]
    assert [second.came[delivery][1] for delivery in (1, 2, 3)] == [2, 2, 2]
    second.works_off()
    link.world.ends_well()


def test_an_earlier_generation_is_refused_again_and_again(produce):
    link = produce().give(*numbers(20), end=True)
    current = link.consumer(generation=5, credit=(10, 1 << 30)).until_came(10)
    for generation in (1, 4, 4, 3, 4):
        try:
            stale = link.consumer(generation=generation, credit=None)
        except Refused:
            continue  # in the answer to its first frame
        stale.send(ack_frame(3))
        stale.done(3)
        stale.is_told()
    current.credit(100)
    current.works_off()
    assert current.ids() == list(range(1, 21))
    link.world.ends_well()


def test_credit_of_an_earlier_generation_is_over(produce):
    link = produce().give(*numbers(20))
    first = granting(link, 8).until_came(8)
    second = link.consumer(generation=2, credit=None)
    first.until_closed()
    link.world.stands_still()
    second.credit(2)
    second.until_came(2)
    link.world.stands_still(0.05)


# --- connections that break ---------------------------------------------------------------------------------------


def test_a_new_connection_goes_on_where_it_was(produce):
    link = produce().give(*numbers(30), end=True)
    consumer = granting(link, 10).until_came(10)
    consumer.ack(3)
    for granted in (15, 20, 30):
        consumer.reconnect()
        consumer.credit(granted)
        consumer.until_came(granted)
    assert consumer.ids() == list(range(1, 31))
    assert set(consumer.attempts()) == {1}, "a connection that breaks is no attempt"
    consumer.works_off()
    link.world.ends_well()


def test_what_did_not_come_is_sent_again(produce):
    link = produce()
    consumer = link.consumer()
    for begin in range(0, 20, 5):
        link.give(*numbers(5, begin))
        consumer.until_came(begin + 5)
    consumer.ack(2)
    link.world.stands_still(0.05)
    borders = [first for first, *_ in consumer.flights if first > 2] + [21]
    for border in borders:
        consumer.reconnect(border).until_came(20)
        assert set(consumer.attempts()) == {1}
    link.end_input()
    consumer.works_off()
    link.world.ends_well()


def test_a_new_connection_takes_the_place_of_the_old_one(produce):
    link = produce().give(*numbers(10), end=True)
    consumer = granting(link, 5).until_came(5)
    old = consumer.connection
    consumer.dial()
    consumer.attach()
    link.world.until(lambda: old.silent, "the old connection to be closed")
    consumer.credit(10)
    consumer.until_came(10).works_off()
    link.world.ends_well()


def test_a_cut_in_any_frame_loses_nothing(produce):
    link = produce().give(*numbers(40))
    consumer = granting(link, 20).until_came(20)
    settled = 0
    for data in (number_frame(CREDIT, 30, 1 << 30), ack_frame(1, (3, 4), (6, 6)), nack_frame(2, FAILED, b"why"),
                 frame(PAUSE), number_frame(ATTACH, 21)):
        for part in sorted({1, 3, 4, 5, len(data) // 2, len(data) - 1} & set(range(len(data)))):
            consumer.send(data[:part])
            consumer.reconnect()
            consumer.ack(settled)
    consumer.credit(40)
    consumer.until_came(40)
    assert consumer.ids() == list(range(1, 41))
    link.end_input()
    consumer.works_off()
    link.world.ends_well()


def test_a_long_record_that_was_cut_begins_again(produce):
    link = produce().give(os.urandom(3 * FRAME_MAX), b"behind it", end=True)
    consumer = link.consumer(credit=(1, 1 << 30))
    for part in (100, FRAME_MAX, 2 * FRAME_MAX):
        consumer.dial()
        consumer.attach(1)
        consumer.credit(1)
        assert len(consumer.connection.read_by_hand(part)) == part, "the record does not begin again"
        consumer.connection.close()
    consumer.dial()
    consumer.attach(1)
    consumer.credit(10)
    consumer.works_off()
    assert set(consumer.attempts()) == {1}
    link.world.ends_well()


@pytest.mark.parametrize("expected", [0, 2, 3, 7, 2**64 - 1])
def test_an_attach_that_is_no_border_is_refused(produce, expected):
    """Deliveries 1 to 6 were one batch or several; 1 to 3 are settled."""
    link = produce(consumers=2).give(*numbers(6), end=True)
    consumer = link.consumer().until_came(6)
    consumer.ack(3)
    link.world.stands_still(0.05)
    consumer.cut()
    consumer.dial()
    consumer.connection.attached = True
    consumer.send(number_frame(ATTACH, 8 if expected == 7 else expected))
    consumer.is_told()
    other = link.consumer(1).until_came(3)
    assert other.ids() == [4, 5, 6]
    other.works_off()
    link.world.ends_well()


def test_the_end_is_said_again_on_a_new_connection(produce):
    link = produce().give(b"a", end=True)
    consumer = link.consumer().until_came(1)
    consumer.ack(1)
    consumer.until_ended()
    consumer.reconnect().leave()
    link.world.ends_well()


def test_done_may_be_said_before_the_end_comes_again(produce):
    link = produce().give(b"a", end=True)
    consumer = link.consumer().until_came(1)
    consumer.ack(1)
    consumer.until_ended()
    consumer.cut()
    consumer.dial()
    consumer.connection.attached = True
    consumer.send(number_frame(ATTACH, 2) + ack_frame(1) + number_frame(CREDIT, *consumer.granted) + number_frame(DONE, 1))
    consumer.until_closed()
    assert consumer.connection.cancelled is None, "it kept every rule"
    link.world.ends_well()


# --- pause, drain, cancel -----------------------------------------------------------------------------------------


def test_a_pause_holds_deliveries_back(produce):
    link = produce().give(*numbers(10))
    consumer = link.consumer(credit=None)
    consumer.pause()
    consumer.credit(100)
    link.world.stands_still()
    assert consumer.last == 0
    consumer.resume()
    consumer.until_came(10)


def test_a_new_connection_is_not_paused(produce):
    link = produce().give(*numbers(10))
    consumer = link.consumer(credit=None)
    consumer.pause()
    consumer.credit(100)
    link.world.stands_still(0.1)
    consumer.reconnect().until_came(10)


def test_a_consumer_drains_and_the_others_go_on(produce):
    link = produce(consumers=2).give(*numbers(10))
    leaving = granting(link, 5).until_came(5)
    leaving.drain()
    leaving.credit(1000)
    link.world.stands_still()
    assert leaving.last == 5 and leaving.connection.ended is None
    leaving.ack(5)
    leaving.leave()
    staying = link.consumer(1).until_came(5)
    link.end_input()
    staying.works_off()
    link.world.ends_well()


def test_a_consumer_that_has_left_is_refused(produce):
    link = produce(consumers=2).give(*numbers(3))
    leaving = granting(link, 2).until_came(2)
    leaving.drain()
    leaving.ack(2)
    leaving.leave()
    try:
        leaving.dial()
        leaving.attach()
        leaving.is_told()
    except Refused:
        pass  # in the answer to its first frame
    link.end_input()
    link.consumer(1).works_off()
    link.world.ends_well()


def test_a_consumer_cancels_its_part_alone(produce):
    link = produce(consumers=2).give(*numbers(10))
    first = granting(link, 6).until_came(6)
    first.ack(4)
    first.cancel("its stage was stopped".encode())
    first.until_closed()
    second = link.consumer(1).until_came(6)
    assert second.ids() == [5, 6, 7, 8, 9, 10]
    link.end_input()
    second.works_off()
    link.world.ends_well()


def test_its_own_cancel_is_told_to_everybody(produce):
    link = produce(consumers=2).give(*numbers(10))
    consumers = [granting(link, 3, number=number).until_came(3) for number in range(2)]
    link.world.program.process.send_signal(signal.SIGTERM)
    for consumer in consumers:
        consumer.is_told("terminated")
    link.world.fails("terminated")


def test_a_source_that_ends_within_a_record_is_no_end(produce):
    link = produce().give(*numbers(3))
    consumer = link.consumer().until_came(3)
    link.world.type(struct.pack(">I", 5) + b"abc")
    link.end_input()
    consumer.is_told()
    link.world.fails()


# --- frames in any pieces -----------------------------------------------------------------------------------------


def test_consumers_frames_may_come_one_byte_at_a_time(produce):
    link = produce().give(*numbers(6), end=True)
    consumer = link.consumer(attach=False)
    consumer.connection.attached = True
    consumer.granted = (5, 1 << 20)
    for byte in number_frame(ATTACH, 1) + number_frame(CREDIT, 5, 1 << 20):
        consumer.send(bytes([byte]))
        link.world.pump(0)
    consumer.until_came(5)
    consumer.settles(1, 2)
    consumer.settles(4, 5)
    consumer.nacked.add(3)
    consumer.granted = (20, 1 << 21)
    data = (ack_frame(2, (4, 5)) + nack_frame(3, FAILED, b"why") + frame(PAUSE) + frame(RESUME) +
            number_frame(CREDIT, 20, 1 << 21))
    for byte in data:
        consumer.send(bytes([byte]))
        link.world.pump(0)
    consumer.until_noted(3).until_came(7)
    consumer.works_off()
    link.world.ends_well()


def test_consumers_frames_may_come_all_at_once(produce):
    link = produce().give(*numbers(1000), end=True)
    consumer = link.consumer(credit=None)
    consumer.granted = (1000, 1 << 20)
    consumer.send(b"".join(number_frame(CREDIT, granted, 1 << 20) for granted in range(1, 1001)) +
                  (frame(PAUSE) + frame(RESUME)) * 100)
    consumer.until_came(1000).works_off()
    link.world.ends_well()


def test_as_many_ranges_as_fit(produce):
    link = produce(consumers=2).give(*numbers(2049), end=True)
    first = link.consumer().until_came(2049)
    first.ack(1, *[(odd, odd) for odd in range(3, 2050, 2)])
    first.cancel()
    first.until_closed()
    second = link.consumer(1).until_came(1024)
    assert second.ids() == list(range(2, 2049, 2))
    second.works_off()
    link.world.ends_well()


# --- consumers that break the rules -------------------------------------------------------------------------------

# After deliveries 1 to 4 came, and 2 was acknowledged; credit for 4 deliveries and 1,000 bytes was granted.
BROKEN = {
    "a kind that there is not": frame(15),
    "kind 0": frame(0),
    "another protocol": b"GET / HTTP/1.1\r\n\r\n",
    "a producer's frame": sized_batch(1, 1, [b"a"]),
    "a frame that is too long": b"\x08\xff\xff\xff",
    "an ack of 7 bytes": frame(ACK, bytes(7)),
    "an ack that ends within a range": frame(ACK, bytes(16)),
    "an ack of too many ranges": b"\x08\x00\x40\x18",
    "an ack of what was not sent": ack_frame(5),
    "an ack of absurdly much": ack_frame(2**64 - 1),
    "a range of what was not sent": ack_frame(0, (2, 5)),
    "a range to the end of all numbers": ack_frame(0, (2, 2**64 - 1)),
    "a range that touches": ack_frame(1, (2, 3)),
    "a range below": ack_frame(2, (1, 1)),
    "a range that ends before it begins": ack_frame(0, (4, 3)),
    "ranges out of order": ack_frame(0, (4, 4), (2, 2)),
    "ranges that touch": ack_frame(0, (2, 2), (3, 4)),
    "a nack of what was not sent": nack_frame(5, FAILED),
    "a nack of nothing": nack_frame(0, FAILED),
    "a nack for cause 0": nack_frame(1, 0),
    "a nack for cause 4": nack_frame(1, 4),
    "a nack with a long reason": b"\x09\x00\x04\x0a",
    "credit for records taken back": number_frame(CREDIT, 3, 1000),
    "credit for bytes taken back": number_frame(CREDIT, 4, 999),
    "absurd credit for records": number_frame(CREDIT, CREDIT_RECORDS_MAX + 6, 1000),
    "absurd credit for bytes": number_frame(CREDIT, 4, CREDIT_BYTES_MAX + 1000),
    "all credit that there is": number_frame(CREDIT, 2**64 - 1, 2**64 - 1),
    "a second attach": number_frame(ATTACH, 5),
    "a pause with something in it": frame(PAUSE, b"x"),
    "a resume with something in it": frame(RESUME, b"x"),
    "a drain with something in it": frame(12, b"x"),
    "a done that is too early": number_frame(DONE, 4),
    "a cancel with a long reason": b"\x05\x00\x04\x01",
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_consumer_that_breaks_a_rule_is_cut_off(produce, what):
    link = produce(consumers=2).give(b"a", b"b", b"c", b"d", end=True)
    bad = granting(link, 4, 1000).until_came(4)
    bad.ack(0, (2, 2))
    bad.send(BROKEN[what])
    bad.is_told()
    good = link.consumer(1).until_came(3)
    assert good.ids() == [1, 3, 4]
    good.works_off()
    link.world.ends_well()


@pytest.mark.parametrize("data", [number_frame(CREDIT, 4, 100), ack_frame(0), frame(PAUSE), number_frame(DONE, 0)])
def test_what_stands_before_attach_is_refused(produce, data):
    link = produce(consumers=2).give(b"a", end=True)
    bad = link.consumer(attach=False)
    bad.send(data)
    bad.is_told()
    link.consumer(1).works_off()
    link.world.ends_well()


def test_a_done_of_another_count_is_refused(produce):
    link = produce().give(b"a", end=True)
    consumer = link.consumer().until_came(1)
    consumer.ack(1)
    consumer.until_ended().done(2)
    consumer.is_told()


def test_a_nack_of_what_was_not_sent_is_refused(produce):
    link = produce().give(*numbers(10))
    consumer = granting(link, 3).until_came(3)
    consumer.send(nack_frame(4, LOST))
    consumer.is_told("4")


def test_a_consumer_that_never_attaches_is_closed(produce):
    link = produce(consumers=2).give(*numbers(3), end=True)
    silent = link.consumer(attach=False)
    link.consumer(1).until_came(3)
    link.world.until(lambda: silent.connection.silent, "the silent connection to be closed", 5 + link.world.deadline)
