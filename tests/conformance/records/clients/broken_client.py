#!/usr/bin/env python3
"""Clients of record links that each break one rule, made from record_client.py: broken_client.py VARIANT ARGUMENT...

The suite must find each of them (suite_test.py), or its tests prove nothing.
"""

import struct
import sys

import record_client as good
from record_client import (ACK, ATTACH, CANCEL, CREDIT, DONE, DRAIN, END, FRAME_MAX, NACK, NOTED, Broken, Consumer,
                           FrameReader, Producer, Refused, frame, number)

VARIANTS = {}


def variant(kind):
    VARIANTS[kind.__name__] = kind
    return kind


# --- consumers ----------------------------------------------------------------------------------------------------


@variant
class ClaimsAnotherGeneration(Consumer):
    def first_frame(self):
        data = super().first_frame()
        return data[:27] + struct.pack(">I", self.options.generation + 1) + data[31:]


@variant
class ClaimsTheSameAttempt(Consumer):
    def first_frame(self):
        self.attempt = 1
        return super().first_frame()


@variant
class ClaimsToBeTheProducer(Consumer):
    def first_frame(self):
        return super().first_frame()[:-1] + b"\x01"


@variant
class IgnoresTheAnswer(Consumer):
    """Reads so many bytes, whatever they say."""

    def missing_of_answer(self, answer):
        return 11 - len(answer)

    def dial(self):
        try:
            return super().dial()
        except Refused:
            return False


@variant
class ReadsTheAnswerOnce(Consumer):
    def missing_of_answer(self, answer):
        return 0 if answer else 11


@variant
class DropsWhatIsBehindTheAnswer(Consumer):
    def dial(self):
        dialled = super().dial()
        self.connection.socket.setblocking(False)
        self.connection.receive()
        return dialled


@variant
class GivesUpAtTheFirstCut(Consumer):
    def converse(self):
        if not super().converse():
            raise Refused("the connection broke")
        return True

    def dial(self):
        if not super().dial():
            raise Refused("the connection broke")
        return True


@variant
class TakesACutForTheEnd(Consumer):
    def converse(self):
        super().converse()
        return True


@variant
class GrantsBeforeItAttaches(Consumer):
    def attach(self):
        self.connection.put(frame(CREDIT, struct.pack(">QQ", 64, 1 << 20)))
        super().attach()


@variant
class AttachesTwice(Consumer):
    def attach(self):
        super().attach()
        super().attach()


@variant
class AttachesAtTheBeginning(Consumer):
    def attach(self):
        self.connection.put(frame(ATTACH, number(1)))


@variant
class CountsWhatBegan(Consumer):
    """Expects the delivery behind one of which it has seen the head alone."""

    def attach(self):
        self.connection.put(frame(ATTACH, number(self.began + 1)))

    def begin_connection(self):
        self.began = max(getattr(self, "began", 0), self.came)
        super().begin_connection()
        frames = self.connection.frames if self.connection else None
        self.watched = frames

    def on_cut(self):
        buffered = bytes(self.connection.frames._buffer)
        if len(buffered) >= 28 and buffered[0] in (good.BATCH, good.LONG):
            self.began = self.came + struct.unpack_from(">I", buffered, 20)[0]
        return super().on_cut()


@variant
class GoesOnWithALongRecord(Consumer):
    """Of an earlier connection."""

    def begin_connection(self):
        kept = getattr(self, "long", None)
        super().begin_connection()
        self.long = kept


@variant
class TakesReadsForFrames(Consumer):
    """As if each read gave one whole frame."""

    def dial(self):
        dialled = super().dial()
        if dialled:
            frames = self.connection.frames

            def feed(data):
                frames._buffer[:] = data[:4 + int.from_bytes(data[1:4], "big")]
            frames.feed = feed
        return dialled


@variant
class LosesEmptyRecords(Consumer):
    def cut_sized(self, content, count):
        records = super().cut_sized(content, count)
        return [record for record in records if record] + [b"?" for record in records if not record]


@variant
class StripsDelimiters(Consumer):
    def cut_delimited(self, content, delimiter):
        return [record[:-1] for record in super().cut_delimited(content, delimiter)]


@variant
class KnowsNewlinesAlone(Consumer):
    def cut_delimited(self, content, delimiter):
        return [line + b"\n" for line in content.split(b"\n")[:-1]]


@variant
class ReadsSizesTheWrongWayRound(Consumer):
    def cut_sized(self, content, count):
        swapped = b"".join(content[at:at + 4][::-1] for at in range(0, 4 * count, 4))
        return super().cut_sized(swapped + content[4 * count:], count)


@variant
class PrintsOneAttempt(Consumer):
    def print_record(self, delivery, record_id, attempt, record):
        super().print_record(delivery, record_id, 1, record)


@variant
class CutsLongRecords(Consumer):
    def print_record(self, delivery, record_id, attempt, record):
        super().print_record(delivery, record_id, attempt, record[:FRAME_MAX // 2])


@variant
class KnowsNoLongRecords(Consumer):
    def on_long(self, body):
        raise Broken("a long record")


@variant
class KnowsSmallRecordsAlone(Consumer):
    def on_more(self, body):
        if self.long[3] > 16 << 20:
            raise Broken("a record is longer than I take")
        super().on_more(body)


@variant
class GrantsOnce(Consumer):
    def room(self):
        return self.WINDOW_RECORDS, self.WINDOW_BYTES


@variant
class GrantsForEver(Consumer):
    """As if what came were settled."""

    def room(self):
        return self.came + self.WINDOW_RECORDS, self.came_bytes + self.WINDOW_BYTES


@variant
class GrantsBytesOnce(Consumer):
    def room(self):
        return super().room()[0], self.WINDOW_BYTES


@variant
class TakesCreditBack(Consumer):
    def speak(self):
        super().speak()
        self.granted = 0, 0

    def room(self):
        return 64 - self.came, 1 << 20


@variant
class GrantsAbsurdly(Consumer):
    def room(self):
        return 1 << 40, 1 << 50


@variant
class GrantsRelatively(Consumer):
    """Says how much is free, and not up to where."""

    def credit(self):
        return frame(CREDIT, struct.pack(">QQ", self.granted[0] - self.came, self.granted[1] - self.came_bytes))


@variant
class RefusesLongerThanCredit(Consumer):
    def check_credit(self, count, size):
        self.require(self.came_bytes + size <= self.granted[1], "more bytes came than were granted")


@variant
class AcknowledgesWhatCame(Consumer):
    def print_record(self, delivery, record_id, attempt, record):
        super().print_record(delivery, record_id, attempt, record)
        if delivery not in self.settled:
            self.settled.add(delivery)


@variant
class AcknowledgesTheHighest(Consumer):
    """And with it those below."""

    def ack(self):
        return frame(ACK, number(self.settled.last()))


@variant
class AcknowledgesInOrderAlone(Consumer):
    def ack(self):
        return frame(ACK, number(self.settled.up_to))


@variant
class AcknowledgesSingly(Consumer):
    """With ranges that touch."""

    def ack(self):
        return frame(ACK, number(0) + b"".join(struct.pack(">QQ", delivery, delivery)
                                               for delivery in range(1, self.came + 1) if delivery in self.settled))


@variant
class AcknowledgesOnce(Consumer):
    def speak_of_settled(self):
        if not self.said_settled:
            super().speak_of_settled()


@variant
class AcknowledgesWhatItSentBack(Consumer):
    def on_command(self, line):
        going_on = super().on_command(line)
        for delivery in list(self.rejected):
            self.settle(delivery)
        return going_on


@variant
class AlwaysFailed(Consumer):
    def nack(self, delivery, cause, why):
        return super().nack(delivery, 1, why)


@variant
class AlwaysLost(Consumer):
    def nack(self, delivery, cause, why):
        return super().nack(delivery, 2, why)


@variant
class GivesNoReason(Consumer):
    def nack(self, delivery, cause, why):
        return super().nack(delivery, cause, "")

    def cancel(self, why):
        super().cancel("")


@variant
class GivesLongReasons(Consumer):
    def nack(self, delivery, cause, why):
        return frame(NACK, number(delivery) + bytes([cause]) + why.encode())


@variant
class NeverSendsBack(Consumer):
    def on_command(self, line):
        return line.startswith("reject") or super().on_command(line)


@variant
class IgnoresNoted(Consumer):
    def on_noted(self, delivery):
        pass


@variant
class RefusesASecondNoted(Consumer):
    def on_noted(self, delivery):
        self.require(delivery in self.rejected, "what was not sent back was noted")
        super().on_noted(delivery)


@variant
class ForgetsWhatItSentBack(Consumer):
    """When a connection broke."""

    def begin_connection(self):
        super().begin_connection()
        self.said_nacks = set(self.rejected)


@variant
class SendsBackWhatWasNoted(Consumer):
    def on_noted(self, delivery):
        super().on_noted(delivery)
        self.ever = {*getattr(self, "ever", ()), delivery}

    def begin_connection(self):
        super().begin_connection()
        for delivery in getattr(self, "ever", ()):
            self.rejected[delivery] = 1, "no"


@variant
class ForgetsWhatItAcknowledged(Consumer):
    """It is not said again on a new connection."""

    def begin_connection(self):
        super().begin_connection()
        self.said_settled = len(self.settled)


@variant
class NeverPauses(Consumer):
    def on_command(self, line):
        return line in ("pause", "resume") or super().on_command(line)


@variant
class PausesOnce(Consumer):
    """A new connection is not told."""

    def begin_connection(self):
        super().begin_connection()
        self.said_paused = getattr(self, "paused", False)


@variant
class NeverDrains(Consumer):
    def on_command(self, line):
        return line == "drain" or super().on_command(line)


@variant
class CancelsWithoutAcknowledging(Consumer):
    def cancel(self, why):
        self.said_settled = len(self.settled)
        super().cancel(why)


@variant
class ClosesWithoutCancel(Consumer):
    def cancel(self, why):
        pass


@variant
class ConfirmsNothing(Consumer):
    def done(self):
        return b""


@variant
class ConfirmsAnotherCount(Consumer):
    def done(self):
        return frame(DONE, number(self.came + 1))


@variant
class TakesCancelForTheEnd(Consumer):
    def on_frame(self, kind, body):
        if kind == CANCEL:
            self.ended = True
            self.long = None
        else:
            super().on_frame(kind, body)


@variant
class RefusesCancelWithinALongRecord(Consumer):
    def on_frame(self, kind, body):
        self.require(self.long is None or kind == good.MORE, "a frame stands within a long record")
        super().on_frame(kind, body)


@variant
class RefusesAnEndBeforeNoted(Consumer):
    def on_end(self, deliveries):
        self.require(not self.rejected, "the end comes before everything is settled")
        super().on_end(deliveries)


class AnythingGoes(FrameReader):
    def check_header(self, kind, size):
        pass


@variant
class BelievesEverything(Consumer):
    """Breaks off for nothing that the producer does."""

    def dial(self):
        if not super().dial():
            return False
        self.connection.frames = AnythingGoes(good.PRODUCERS)
        return True

    def missing_of_answer(self, answer):
        return 11 - len(answer)

    def on_frame(self, kind, body):
        try:
            super().on_frame(kind, body)
        except (Broken, TypeError, struct.error, IndexError):
            pass

    def print_record(self, delivery, record_id, attempt, record):
        pass


# --- producers ----------------------------------------------------------------------------------------------------


@variant
class AsksForNoToken(Producer):
    def same_token(self, token):
        return True


@variant
class ComparesPartOfTheToken(Producer):
    def same_token(self, token):
        return token[:8] == self.options.token[:8]


@variant
class AsksForNoClaim(Producer):
    def judge_claim(self, claim):
        if len(claim) != 57:
            return None
        return self.judge_generation(self.attachments.get(claim[:16]), *struct.unpack(">II", claim[16:24]))

    def on_connected(self, claim, connection):
        if len(claim) == 57:
            super().on_connected(claim, connection)
        else:
            self.strangers = [*getattr(self, "strangers", ()), connection]


@variant
class SpeaksEveryUse(Producer):
    def on_newcomer(self, sock):
        received = self.newcomers[sock]
        received += sock.recv(9)
        if len(received) >= 9:
            received[8] = 3
        return super().on_newcomer(sock)


@variant
class SpeaksEveryVersion(Producer):
    def on_newcomer(self, sock):
        received = self.newcomers[sock]
        received += sock.recv(6)
        if len(received) >= 6 and received[:4] == b"SLUI":
            received[4:6] = b"\0\1"
        return super().on_newcomer(sock)


@variant
class AnswersWithTheirVersion(Producer):
    def answer(self, status, why=""):
        return super().answer(status, why)[:6] + b"\0\x09" + super().answer(status, why)[8:]


@variant
class AnswersEveryProtocol(Producer):
    def turn_away(self, sock, status=None, why=""):
        said_something = len(self.newcomers[sock]) > 0
        super().turn_away(sock, 2 if status is None and said_something else status, why)


@variant
class TakesEarlierAttempts(Producer):
    def judge_generation(self, known, generation, attempt):
        return super().judge_generation(known, generation, attempt if known is None else known.attempt + 1)


@variant
class TakesReadsForFirstFrames(Producer):
    def on_newcomer(self, sock):
        self.newcomers[sock] = bytearray()
        return super().on_newcomer(sock)


@variant
class DropsWhatIsBehindTheFirstFrame(Producer):
    def on_connected(self, claim, connection):
        connection.frames._buffer.clear()
        super().on_connected(claim, connection)


@variant
class TakesEarlierGenerations(Producer):
    def judge_generation(self, known, generation, attempt):
        return None


@variant
class KeepsOldGenerations(Producer):
    """A later one is refused."""

    def judge_generation(self, known, generation, attempt):
        if known and generation > known.generation:
            return "somebody is here"
        return super().judge_generation(known, generation, attempt)


@variant
class CountsOnOverGenerations(Producer):
    def on_connected(self, claim, connection):
        known = self.attachments.get(claim[:16])
        given = known.given if known else 0
        super().on_connected(claim, connection)
        fresh = self.attachments[claim[:16]]
        if fresh is not known:
            fresh.given = given
            for _ in range(given):
                fresh.settled.add(fresh.settled.up_to + 1)


@variant
class KeepsCreditOverGenerations(Producer):
    def on_connected(self, claim, connection):
        known = self.attachments.get(claim[:16])
        super().on_connected(claim, connection)
        if known and not self.attachments[claim[:16]].credit[0]:
            self.attachments[claim[:16]].credit = known.credit


@variant
class KeepsOldConnections(Producer):
    def on_connected(self, claim, connection):
        known = self.attachments.get(claim[:16])
        self.kept = [*getattr(self, "kept", ()), known.connection.socket.dup() if known and known.connection else None]
        super().on_connected(claim, connection)


@variant
class SendsBeforeAttach(Producer):
    def on_connected(self, claim, connection):
        connection.put(frame(NOTED, number(1)))
        super().on_connected(claim, connection)


@variant
class SendsOneMoreThanGranted(Producer):
    def on_credit(self, attachment, credit):
        super().on_credit(attachment, credit)
        attachment.credit = credit[0] + 1, credit[1]


@variant
class CountsNoBytes(Producer):
    def on_credit(self, attachment, credit):
        super().on_credit(attachment, credit)
        attachment.credit = credit[0], 1 << 40


@variant
class NeverSendsMoreThanCredit(Producer):
    """Not even one alone."""

    def ready(self, attachment):
        return super().ready(attachment) and len(self.pending[0].data) <= attachment.credit[1] - attachment.given_bytes


@variant
class SendsLongOnesAtAnyTime(Producer):
    def ready(self, attachment):
        credit, attachment.credit = attachment.credit, (attachment.credit[0], 1 << 40)
        found = super().ready(attachment)
        attachment.credit = credit
        return found and (len(self.pending[0].data) > 1000 or super().ready(attachment))


@variant
class TakesSettlingForCredit(Producer):
    """As if credit were a window."""

    def on_ack(self, attachment, body):
        before = len(attachment.settled)
        super().on_ack(attachment, body)
        attachment.credit = attachment.credit[0] + len(attachment.settled) - before, attachment.credit[1]


@variant
class SaysNothingOfCredit(Producer):
    def flags(self, attachment, size):
        return super().flags(attachment, size) & good.DELIMITED


@variant
class ForgetsCreditOfConnections(Producer):
    def on_connected(self, claim, connection):
        super().on_connected(claim, connection)
        self.attachments[claim[:16]].credit = 0, 0


@variant
class ReadsItsWholeSource(Producer):
    def wants_input(self):
        return not self.input_ended


@variant
class LosesEmptyInput(Producer):
    def accept(self, data):
        if data:
            super().accept(data)


@variant
class CutsLongInput(Producer):
    def accept(self, data):
        super().accept(data[:FRAME_MAX // 2])


@variant
class StripsLines(Producer):
    def accept(self, data):
        super().accept(data[:-1] if self.options.lines and len(data) < 100 else data)


@variant
class SendsSizesTheWrongWayRound(Producer):
    def transmit(self, attachment, flight):
        before = len(attachment.connection.output)
        super().transmit(attachment, flight)
        if len(flight[1]) > 1 and not self.options.lines:
            data = bytearray(attachment.connection.output[before])
            data[28:32] = data[28:32][::-1]
            attachment.connection.output[before] = memoryview(data)


@variant
class SendsInAnyOrder(Producer):
    def take(self, attachment, share):
        if len(self.pending) > 1000:
            self.pending.append(self.pending.pop(0))
        return super().take(attachment, share)


@variant
class CutsAtTwoMiB(Producer):
    """Frames may not be as long."""

    def transmit(self, attachment, flight):
        good.FRAME_MAX = 2 << 20
        super().transmit(attachment, flight)
        good.FRAME_MAX = 1 << 20


@variant
class SendsShortLongRecords(Producer):
    """The last frame of a long record is missing."""

    def transmit(self, attachment, flight):
        before = len(attachment.connection.output)
        super().transmit(attachment, flight)
        if len(attachment.connection.output) - before > 1:
            attachment.connection.waiting -= len(attachment.connection.output.pop())


@variant
class EndsTooEarly(Producer):
    """When everything was given."""

    def say_ends(self):
        for attachment in self.attachments.values():
            if attachment.attached and self.input_ended and not self.pending and not attachment.told_end:
                attachment.told_end = attachment.connection
                attachment.connection.put(frame(END, number(attachment.given)))


@variant
class EndsBeforeItsSource(Producer):
    def all_settled(self):
        ended, self.input_ended = self.input_ended, self.accepted > 0 and not self.pending
        found = super().all_settled()
        self.input_ended = ended
        return found and self.accepted > 0


@variant
class NeverEnds(Producer):
    def say_ends(self):
        pass


@variant
class SaysTheEndOnce(Producer):
    """A new connection is not told."""

    def said_end(self, attachment):
        return attachment.told_end


@variant
class WantsTheEndToBeReadFirst(Producer):
    """On each connection anew."""

    def on_done(self, attachment, deliveries):
        self.require(attachment.told_end is attachment.connection, "it confirmed an end that it was not told")
        super().on_done(attachment, deliveries)


@variant
class CountsRecordsForTheEnd(Producer):
    def say_ends(self):
        for attachment in self.attachments.values():
            attachment.given, kept = attachment.given + 1, attachment.given
            if attachment.unsettled() == 1:
                attachment.settled.add(attachment.given)
            super().say_ends()
            attachment.given = kept


@variant
class IgnoresRanges(Producer):
    def on_ack(self, attachment, body):
        super().on_ack(attachment, body[:8])


@variant
class ReadsTheFirstRangeAlone(Producer):
    def on_ack(self, attachment, body):
        super().on_ack(attachment, body[:24])


@variant
class RefusesOldAcknowledgements(Producer):
    def on_ack(self, attachment, body):
        self.require(struct.unpack_from(">Q", body)[0] >= attachment.settled.up_to, "an old acknowledgement")
        super().on_ack(attachment, body)


@variant
class TakesRangesForCumulative(Producer):
    def on_ack(self, attachment, body):
        super().on_ack(attachment, body[:8] if len(body) == 8 else body[-8:])


@variant
class BuriesWhatIsSentBack(Producer):
    def judge(self, record, cause):
        pass


@variant
class RetriesWhatIsRefused(Producer):
    def judge(self, record, cause):
        self.pend([record])


@variant
class NotesNothing(Producer):
    def note(self, attachment, delivery):
        pass


@variant
class NotesOnce(Producer):
    def note(self, attachment, delivery):
        if delivery not in getattr(attachment, "notes", set()):
            attachment.notes = {*getattr(attachment, "notes", set()), delivery}
            super().note(attachment, delivery)


@variant
class RetriesWhatWasAcknowledged(Producer):
    def on_nack(self, attachment, delivery, cause):
        before = delivery in attachment.settled
        record = attachment.record(delivery)
        super().on_nack(attachment, delivery, cause)
        if before:
            self.pend([record or good.Record(delivery, b"%d" % (delivery - 1))])


@variant
class CountsNoAttempts(Producer):
    def head(self, first, records, flags):
        head = bytearray(super().head(first, records, flags))
        head[20:22] = b"\0\1"
        return bytes(head)


@variant
class CountsCutsAsAttempts(Producer):
    def on_attach(self, attachment, expected):
        for first, records, _ in attachment.flights:
            for record in records:
                record.attempts += attachment.attempt - 1
        super().on_attach(attachment, expected)
        self.bump = attachment.attempt - 1

    def give(self, attachment, records):
        for record in records:
            record.attempts += attachment.attempt - 1
        super().give(attachment, records)


@variant
class NumbersAgain(Producer):
    """A record that is given again has another id."""

    def pend(self, records):
        for record in records:
            if record.attempts:
                self.accepted += 1
                record.id = self.accepted
        super().pend(records)


@variant
class LosesWhatALostConsumerHad(Producer):
    def given_back(self, attachment):
        return []


@variant
class GivesBackEverything(Producer):
    """What was acknowledged too."""

    def forget_settled(self, attachment):
        pass

    def given_back(self, attachment):
        return [record for _, records, _ in attachment.flights for record in records]


@variant
class GivesBackBehindTheNewer(Producer):
    def pend(self, records):
        self.pending += records
        self.pending_bytes += sum(len(record.data) for record in records)


@variant
class HasOneConsumer(Producer):
    def dispatch(self):
        kept = self.attachments
        self.attachments = dict(list(kept.items())[:1])
        super().dispatch()
        self.attachments = kept


@variant
class SharesCredit(Producer):
    def ready(self, attachment):
        everything = sum(other.credit[0] for other in self.attachments.values())
        given = sum(other.given for other in self.attachments.values())
        if attachment.attached and given < everything and attachment.given >= attachment.credit[0]:
            attachment.credit = attachment.given + 1, attachment.credit[1]
        return super().ready(attachment)


@variant
class EndsTheLinkWithOneConsumer(Producer):
    def lose(self, attachment, why):
        super().lose(attachment, why)
        self.cancel = why or "a consumer is gone"


@variant
class TakesAttachForGranted(Producer):
    """Goes on behind what it wrote, whatever the consumer expects."""

    def on_attach(self, attachment, expected):
        super().on_attach(attachment, attachment.given + 1)


@variant
class SendsAllAgain(Producer):
    def on_attach(self, attachment, expected):
        super().on_attach(attachment, attachment.flights[0][0] if attachment.flights else expected)


@variant
class GoesOnWithinALongRecord(Producer):
    """On a new connection, where the old one broke."""

    def on_attach(self, attachment, expected):
        super().on_attach(attachment, expected)
        output = attachment.connection.output
        if attachment.attempt > 1 and output and output[0][0] == good.LONG:
            attachment.connection.waiting -= len(output.popleft())


@variant
class NeverPausesDeliveries(Producer):
    def ready(self, attachment):
        attachment.paused = False
        return super().ready(attachment)


@variant
class StaysPaused(Producer):
    def on_connected(self, claim, connection):
        known = self.attachments.get(claim[:16])
        paused = known.paused if known else False
        super().on_connected(claim, connection)
        self.attachments[claim[:16]].paused = paused

    def on_cut(self, attachment):
        paused = attachment.paused
        super().on_cut(attachment)
        attachment.paused = paused


@variant
class NeverResumes(Producer):
    def on_frame(self, attachment, kind, body):
        if kind != good.RESUME:
            super().on_frame(attachment, kind, body)


@variant
class NeverLetsGo(Producer):
    """Of a consumer that drains."""

    def on_frame(self, attachment, kind, body):
        if kind != DRAIN:
            super().on_frame(attachment, kind, body)


@variant
class EndsADrainAtOnce(Producer):
    def say_ends(self):
        for attachment in self.attachments.values():
            if attachment.draining and attachment.connection and not attachment.told_end:
                attachment.told_end = attachment.connection
                attachment.connection.put(frame(END, number(attachment.given)))
        super().say_ends()


@variant
class TakesBackWhoHasLeft(Producer):
    def judge_generation(self, known, generation, attempt):
        if known and known.over:
            known.over = False
            return None
        return super().judge_generation(known, generation, attempt)


@variant
class IgnoresCancel(Producer):
    def on_frame(self, attachment, kind, body):
        if kind != CANCEL:
            super().on_frame(attachment, kind, body)


@variant
class LeavesSilently(Producer):
    """Tells nobody why."""

    def lose(self, attachment, why):
        super().lose(attachment, None)

    def on_terminated(self, *_):
        sys.exit(1)

    def read_input(self):
        super().read_input()
        if self.cancel:
            sys.exit(1)


@variant
class TakesAShortSourceForWhole(Producer):
    def read_input(self):
        super().read_input()
        self.cancel = None


@variant
class WaitsForAttachForEver(Producer):
    def look_after(self):
        for attachment in self.attachments.values():
            attachment.attach_until = float("inf")
        super().look_after()


@variant
class TakesConsumersReadsForFrames(Producer):
    """As if each read gave one whole frame."""

    def listen_to(self, attachment):
        frames = attachment.connection.frames

        def feed(data):
            frames._buffer[:] = data[:4 + int.from_bytes(data[1:4], "big")]
        frames.feed = feed
        super().listen_to(attachment)


@variant
class BelievesEveryConsumer(Producer):
    """Breaks off for nothing that a consumer does."""

    def on_connected(self, claim, connection):
        buffered = connection.frames._buffer
        connection.frames = AnythingGoes(good.CONSUMERS)
        connection.frames.feed(buffered)
        super().on_connected(claim, connection)

    def on_frame(self, attachment, kind, body):
        try:
            super().on_frame(attachment, kind, body)
        except (Broken, TypeError, struct.error, KeyError, AttributeError):
            pass


if __name__ == "__main__":
    options = good.parse(sys.argv[2:])
    sys.exit(VARIANTS[sys.argv[1]](options).run())
