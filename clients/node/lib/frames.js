'use strict';
// The frames of docs/protocol-workers.md, as a worker writes and reads them.

const MAJOR = 1;
const MINOR = 0;
const HEADER = 8;
const BATCH_MAX = 1 << 20; // of a body with several records
const BODY_MAX = 64 << 10; // of one with none
const TEXT_MAX = 4096;
const ENTRY = 12;
const HIGH = 2 ** 32;

const Kind = {
  hello: 1, credit: 2, outputs: 3, done: 4, fail: 5, leave: 6, finished: 7, refuse: 8,
  welcome: 16, records: 17, end: 18, cancel: 19,
};

class ProtocolError extends Error {}

function frame(kind, body = Buffer.alloc(0)) {
  const bytes = Buffer.allocUnsafe(HEADER + body.length);
  writeHeader(bytes, body.length, kind);
  body.copy(bytes, HEADER);
  return bytes;
}

function writeHeader(bytes, size, kind, at = 0) {
  bytes.writeUInt32BE(size, at);
  bytes.writeUInt32BE(kind * 0x1000000, at + 4);
}

function writeId(bytes, id, at) {
  bytes.writeUInt32BE(Math.floor(id / HIGH), at);
  bytes.writeUInt32BE(id % HIGH, at + 4);
}

function readId(bytes, at) {
  return bytes.readUInt32BE(at) * HIGH + bytes.readUInt32BE(at + 4);
}

function hello({ source, concurrency, library }) {
  const body = Buffer.alloc(18 + library.length);
  body.write('SLWK', 0, 'latin1');
  body.writeUInt16BE(MAJOR, 4);
  body.writeUInt16BE(MINOR, 6);
  body.writeUInt16BE(source ? 1 : 0, 8);
  body.writeUInt32BE(concurrency, 10);
  body.writeUInt16BE(0, 14);
  body.writeUInt16BE(library.length, 16);
  body.write(library, 18, 'latin1');
  return frame(Kind.hello, body);
}

function credit(concurrency, records, size) {
  const body = Buffer.allocUnsafe(16);
  body.writeUInt32BE(concurrency, 0);
  body.writeUInt32BE(records, 4);
  writeId(body, size, 8);
  return frame(Kind.credit, body);
}

function text(bytes) {
  return Buffer.from(String(bytes), 'utf8').subarray(0, TEXT_MAX);
}

function fail(id, reason) {
  const head = Buffer.allocUnsafe(8);
  writeId(head, id, 0);
  return frame(Kind.fail, Buffer.concat([head, text(reason)]));
}

const refuse = (why) => frame(Kind.refuse, text(why));

function readWelcome(body) {
  if (body.length < 24 || body.toString('latin1', 0, 4) !== 'SLWK') throw new ProtocolError('its welcome is none');
  const major = body.readUInt16BE(4);
  if (major !== MAJOR) {
    throw new ProtocolError(`it speaks version ${major} of the protocol of workers, and this library ${MAJOR}`);
  }
  return { concurrency: body.readUInt32BE(8), number: body.readUInt32BE(12), recordMax: readId(body, 16) };
}

// Where the records of a body lie: the table of their sizes is not copied.
function readRecords(body) {
  if (body.length < 16) throw new ProtocolError('its records end within a field');
  const count = body.readUInt32BE(12);
  const table = 16;
  const bytes = table + 4 * count;
  if (count === 0 || bytes > body.length) throw new ProtocolError('its records are shorter than their table');
  let sum = bytes;
  for (let at = table; at < bytes; at += 4) sum += body.readUInt32BE(at);
  if (sum !== body.length) throw new ProtocolError('its records are not as long as their sizes say');
  return { body, id: readId(body, 0), attempt: body.readUInt32BE(8), left: count, table, at: bytes };
}

// Cuts what a stage sends into frames.
class Reader {
  constructor() {
    this.recordMax = 64 << 20;
    this.pending = null; // chunks of a frame that is not whole, and their length
    this.length = 0;
  }

  // Calls take(kind, body) for each frame that is whole now.
  push(chunk, take) {
    if (this.pending) {
      this.pending.push(chunk);
      this.length += chunk.length;
      if (this.length < this.wanted) return;
      chunk = Buffer.concat(this.pending, this.length);
      this.pending = null;
    }
    let at = 0;
    let wanted = HEADER;
    while (chunk.length - at >= HEADER) {
      const size = chunk.readUInt32BE(at);
      const kind = chunk[at + 4];
      if ((chunk.readUInt32BE(at + 4) & 0xffffff) !== 0 || (kind !== Kind.refuse && (kind < 16 || kind > 19))) {
        throw new ProtocolError(`what it sent is no header of a frame: ${chunk.toString('hex', at, at + HEADER)}`);
      }
      const most = kind === Kind.records ? Math.max(this.recordMax + 64, BATCH_MAX) : BODY_MAX;
      if (size > most) throw new ProtocolError(`it sent a frame that is too long: ${size} bytes`);
      wanted = HEADER + size;
      if (chunk.length - at < wanted) break;
      at += wanted;
      wanted = HEADER;
      take(kind, chunk.subarray(at - size, at));
    }
    if (at === chunk.length) return;
    this.pending = [chunk.subarray(at)];
    this.length = chunk.length - at;
    this.wanted = wanted;
  }
}

module.exports = {
  BATCH_MAX, BODY_MAX, ENTRY, HEADER, Kind, ProtocolError, Reader,
  credit, fail, frame, hello, readRecords, readWelcome, refuse, writeHeader, writeId,
};
