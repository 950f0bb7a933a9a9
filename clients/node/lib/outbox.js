'use strict';
// What a worker has written and settled, and not sent yet, laid out as it will stand in its frames.

const { BATCH_MAX, BODY_MAX, ENTRY, HEADER, Kind, writeHeader, writeId } = require('./frames');

const TABLE = ENTRY * 4096;
const BYTES = 256 << 10;
const DONE_ENTRIES = Math.floor(BODY_MAX / ENTRY);

function bytesOf(record) {
  if (ArrayBuffer.isView(record)) return new Uint8Array(record.buffer, record.byteOffset, record.byteLength);
  const name = record?.constructor?.name ?? typeof record;
  throw new TypeError(`write() takes a string, a Buffer or another view of bytes, not ${name}`);
}

class Outbox {
  constructor() {
    this.frames = []; // that are complete
    this.size = 0; // of all that was put
    this.table = Buffer.allocUnsafeSlow(TABLE);
    this.bytes = Buffer.allocUnsafeSlow(BYTES);
    this.count = 0;
    this.used = 0;
    this.doneTable = null; // first ids and lengths; the last range is still open
  }

  // Appends a record: a string, or bytes.
  put(id, record, recordMax) {
    const isText = typeof record === 'string';
    if (!isText && !(record instanceof Uint8Array)) record = bytesOf(record);
    // A character of a string takes at most three bytes.
    let room = isText ? record.length * 3 : record.length;
    if (isText && (room > this.bytes.length - this.used || room > recordMax)) room = Buffer.byteLength(record);
    if (room > recordMax) {
      const most = `${recordMax} bytes, --max-record`;
      throw new RangeError(`an output of ${room} bytes is longer than a record may be (${most})`);
    }
    if (room > this.bytes.length - this.used || (this.count + 1) * ENTRY > this.table.length) this.#make(room);
    const size = isText ? this.bytes.write(record, this.used) : this.#copy(record);
    const at = this.count * ENTRY;
    writeId(this.table, id, at);
    this.table.writeUInt32BE(size, at + 8);
    this.used += size;
    this.size += size + ENTRY;
    this.count += 1;
  }

  #copy(record) {
    this.bytes.set(record, this.used);
    return record.length;
  }

  #make(room) {
    this.#close();
    if (room > this.bytes.length) this.bytes = Buffer.allocUnsafeSlow(room);
  }

  #close() {
    if (this.count === 0) return;
    const table = this.count * ENTRY;
    const frame = Buffer.allocUnsafe(HEADER + 4 + table + this.used);
    writeHeader(frame, frame.length - HEADER, Kind.outputs);
    frame.writeUInt32BE(this.count, HEADER);
    this.table.copy(frame, HEADER + 4, 0, table);
    this.bytes.copy(frame, HEADER + 4 + table, 0, this.used);
    this.frames.push(frame);
    if (this.bytes.length > BYTES) this.bytes = Buffer.allocUnsafeSlow(BYTES); // a long record's memory
    this.count = 0;
    this.used = 0;
  }

  done(id) {
    if (this.doneTable && this.first + this.length === id) {
      this.length += 1;
      return;
    }
    if (!this.doneTable) {
      this.doneTable = [];
    } else {
      this.doneTable.push(this.first, this.length);
    }
    this.first = id;
    this.length = 1;
  }

  #closeDone() {
    if (!this.doneTable) return;
    this.doneTable.push(this.first, this.length);
    for (let from = 0; from < this.doneTable.length; from += 2 * DONE_ENTRIES) {
      const some = this.doneTable.slice(from, from + 2 * DONE_ENTRIES);
      const frame = Buffer.allocUnsafe(HEADER + (some.length / 2) * ENTRY);
      writeHeader(frame, frame.length - HEADER, Kind.done);
      for (let i = 0; i < some.length; i += 2) {
        const at = HEADER + (i / 2) * ENTRY;
        writeId(frame, some[i], at);
        frame.writeUInt32BE(some[i + 1], at + 8);
      }
      this.frames.push(frame);
    }
    this.doneTable = null;
  }

  // A frame that goes behind what was put and done before.
  add(frame) {
    this.#close();
    this.#closeDone();
    this.frames.push(frame);
  }

  // Everything, as buffers to send one behind the other. Outputs go before the word that their records are done.
  take() {
    this.#close();
    this.#closeDone();
    const frames = this.frames;
    this.frames = [];
    this.size = 0;
    return frames;
  }
}

if (TABLE + BYTES > BATCH_MAX) throw new Error('a body with several records would be too long');

module.exports = { Outbox };
