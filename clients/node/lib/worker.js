'use strict';

const { EventEmitter } = require('node:events');
const fs = require('node:fs');
const net = require('node:net');
const { performance } = require('node:perf_hooks');
const { inspect } = require('node:util');

const { Kind, ProtocolError, Reader, credit, fail, frame, hello, readRecords, readWelcome, refuse } = require('./frames');
const { Input, isSettled } = require('./input');
const { Outbox } = require('./outbox');

const LIBRARY = 'sluice-node 0.1';
const FLUSH_AT = 128 << 10;
// What was written and the stage has not taken: beyond it write() says false, and records wait.
const UNSENT_MAX = 1 << 20;
// Records that may wait here for the listener. The stage gives far fewer to a worker that is slow.
const AHEAD = 8192;
const AHEAD_BYTES = 4 << 20;
const CONCURRENCY_MAX = 2 ** 31 - 1;
// Nothing that was settled waits for longer, unless for a listener that has not returned.
const SEND_WITHIN_MS = 20;

function say(message) {
  fs.writeSync(2, `sluice: worker: ${message}\n`);
}

function checkedConcurrency(records) {
  if (Number.isInteger(records) && records >= 1 && records <= CONCURRENCY_MAX) return records;
  const error = typeof records === 'number' ? RangeError : TypeError;
  throw new error(`concurrency is a whole number from 1 to ${CONCURRENCY_MAX}, not ${inspect(records)}`);
}

// Why a record has failed, of whatever was thrown.
function textOf(reason) {
  const why = reason instanceof Error ? reason.message : reason;
  return typeof why === 'string' ? why : inspect(why);
}

class Worker extends EventEmitter {
  #socket;
  #reader = new Reader();
  #outbox = new Outbox();
  #queue = []; // records of a frame each, and where in it we are
  #working = 0;
  #concurrency;
  #encoding;
  #source;
  #paused = false;
  #leaving = false;
  #ended = false; // the input has
  #over = false;
  #awaited = false;
  #handing = false;
  #full = false;
  #recordMax = Infinity; // until the stage says it
  #sendAt = 0; // when a listener that returns has what there is sent

  constructor({ concurrency = 1, encoding, source = false } = {}) {
    super();
    this.number = 0;
    this.#concurrency = checkedConcurrency(concurrency);
    this.#encoding = encoding;
    this.#source = source;
    this.#open();
  }

  get concurrency() {
    return this.#concurrency;
  }
  set concurrency(records) {
    this.#concurrency = checkedConcurrency(records);
    this.#changed();
  }

  write(record) {
    return this._put(0, record);
  }

  pause() {
    this.#paused = true;
    this.#changed();
    return this;
  }

  resume() {
    this.#paused = false;
    this.#changed();
    return this;
  }

  end() {
    if (this.#leaving) return;
    this.#leaving = true;
    if (this.#source) {
      this.#whenFinished();
      return;
    }
    this.#send(frame(Kind.leave));
    this.#changed();
  }

  // --- for Input --------------------------------------------------------------------------------------------------

  _put(id, record) {
    if (this.#over) return false;
    this.#outbox.put(id, record, this.#recordMax);
    if (this.#outbox.size >= FLUSH_AT) this.#flush();
    else this.#soon();
    return !this.#full;
  }

  _done(id) {
    if (this.#over) return;
    this.#outbox.done(id);
    this.#settled();
  }

  _fail(id, reason) {
    if (this.#over) return;
    this.#outbox.add(fail(id, textOf(reason ?? '')));
    this.#settled();
  }

  #settled() {
    this.#working -= 1;
    if (!this.#handing) this.#sendInTime(); // others that can go on now may block for long
    this.#soon();
  }

  // --- the connection ---------------------------------------------------------------------------------------------

  #open() {
    const name = process.env.SLUICE_WORKER_FD;
    delete process.env.SLUICE_WORKER_FD;
    if (name === undefined) {
      say("this program is started by a flow, as in 'stages: { got: { worker: ./got.js } }'");
      process.exit(1);
    }
    try {
      if (!fs.fstatSync(Number(name)).isSocket()) throw new Error('it is no socket');
      this.#socket = new net.Socket({ fd: Number(name), readable: true, writable: true, allowHalfOpen: true });
    } catch {
      say('SLUICE_WORKER_FD does not name the socket of a stage; was it inherited?');
      process.exit(1);
    }
    this.#socket.on('data', (chunk) => this.#onBytes(chunk));
    this.#socket.on('end', () => this.#lost());
    this.#socket.on('error', () => this.#lost());
    this.#socket.on('drain', () => this.#onDrain());
    this.#send(hello({ source: this.#source, concurrency: this.#concurrency, library: LIBRARY }));
    this.#soon();
  }

  #onBytes(chunk) {
    if (!this.#awaited) this.#sendAt = performance.now() + SEND_WITHIN_MS; // all that there was has been sent
    try {
      this.#reader.push(chunk, (kind, body) => this.#take(kind, body));
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.#send(refuse(error.message));
      this.#flush();
      this.#close(1, `the stage does not keep to the protocol of workers: ${error.message}`);
      return;
    }
    this.#handOver();
  }

  #take(kind, body) {
    if (this.#over) return;
    if (kind === Kind.records && this.number > 0 && !this.#ended) {
      this.#queue.push(readRecords(body));
    } else if (kind === Kind.welcome && this.number === 0) {
      const welcome = readWelcome(body);
      this.number = welcome.number;
      this.#reader.recordMax = this.#recordMax = welcome.recordMax;
      if (welcome.concurrency > 0) this.#concurrency = welcome.concurrency;
      this.#changed();
    } else if (kind === Kind.end && this.number > 0) {
      this.#ended = true;
    } else if (kind === Kind.cancel) {
      this.#close(0);
    } else if (kind === Kind.refuse) {
      this.#close(1, `the stage refuses it: ${body.toString()}`);
    } else {
      throw new ProtocolError(`it sent a frame of kind ${kind} where none is`);
    }
  }

  #lost() {
    this.#close(1, 'the stage is gone; what this worker had in hand runs again');
  }

  // The process ends: what is still running in it works for nobody.
  #close(status, why) {
    if (this.#over) return;
    this.#over = true;
    if (why) say(why);
    process.exit(status);
  }

  // --- sending ----------------------------------------------------------------------------------------------------

  #send(bytes) {
    this.#outbox.add(bytes);
    this.#soon();
  }

  // When the listeners that are called now have returned.
  #soon() {
    if (this.#awaited) return;
    this.#awaited = true;
    setImmediate(() => {
      this.#awaited = false;
      this.#handOver();
      this.#flush();
    });
  }

  #sendInTime() {
    if (performance.now() >= this.#sendAt) this.#flush();
  }

  #flush() {
    if (this.#over) return;
    this.#sendAt = performance.now() + SEND_WITHIN_MS;
    const frames = this.#outbox.take();
    if (frames.length === 0) return;
    this.#socket.cork();
    for (const bytes of frames) this.#socket.write(bytes);
    this.#socket.uncork();
    if (this.#socket.writableLength > UNSENT_MAX) this.#full = true; // until it has drained
  }

  #onDrain() {
    if (!this.#full) return;
    this.#full = false;
    this.emit('drain');
    this.#handOver();
  }

  #changed() {
    if (this.number === 0 || this.#source || this.#over) return;
    const records = this.#paused || this.#leaving ? 0 : this.#concurrency + AHEAD;
    this.#send(credit(this.#concurrency, records, AHEAD_BYTES));
  }

  // --- the listener -----------------------------------------------------------------------------------------------

  #handOver() {
    if (this.#handing || this.#over) return;
    this.#handing = true;
    const listeners = this.listeners('data');
    do {
      this.#handOverQueued(listeners);
    } while (this.#working > 0 && this.emit('idle') && this.#mayHandOver());
    this.#handing = false;
    if (this.#ended && this.#queue.length === 0 && this.#working === 0) this.#whenFinished();
  }

  #mayHandOver() {
    return this.#queue.length > 0 && !this.#paused && !this.#full && this.#working < this.#concurrency;
  }

  #handOverQueued(listeners) {
    while (this.#mayHandOver()) {
      const batch = this.#queue[0];
      while (batch.left > 0 && this.#mayHandOver()) {
        this.#call(listeners, batch);
        this.#sendInTime();
      }
      if (batch.left === 0) this.#queue.shift();
    }
  }

  #call(listeners, batch) {
    const size = batch.body.readUInt32BE(batch.table);
    const end = batch.at + size;
    const record = this.#encoding ? batch.body.toString(this.#encoding, batch.at, end) : batch.body.subarray(batch.at, end);
    const input = new Input(this, batch.id, batch.attempt);
    batch.table += 4;
    batch.at = end;
    batch.id += 1;
    batch.left -= 1;
    this.#working += 1;
    for (const listener of listeners) this.#callOne(listener, record, input);
  }

  #callOne(listener, record, input) {
    try {
      const result = listener.call(this, record, input);
      if (typeof result?.then === 'function') result.then(undefined, (error) => this.#onError(input, error));
    } catch (error) {
      this.#onError(input, error);
    }
  }

  #onError(input, error) {
    say(error instanceof Error ? error.stack : textOf(error));
    if (!isSettled(input)) input.fail(error);
  }

  #whenFinished() {
    if (this.#over) return;
    this.#flush(); // what was said up to here goes before the last words
    this.emit('end');
    this.#send(frame(Kind.finished));
    this.#flush();
    this.#over = true;
    this.#socket.end(() => this.#socket.destroy());
  }
}

module.exports = { Worker };
