'use strict';

let isSettled; // for the worker alone

class Input {
  #worker;
  #settled = false;

  static {
    isSettled = (input) => input.#settled;
  }

  constructor(worker, id, attempt) {
    this.#worker = worker;
    this.id = id;
    this.attempt = attempt;
  }

  write(record) {
    if (this.#settled) throw new Error(`record ${this.id} is settled; write() comes before done()`);
    return this.#worker._put(this.id, record);
  }

  done() {
    this.#settle();
    this.#worker._done(this.id);
  }

  fail(reason) {
    this.#settle();
    this.#worker._fail(this.id, reason);
  }

  #settle() {
    if (this.#settled) throw new Error(`record ${this.id} is settled already`);
    this.#settled = true;
  }
}

module.exports = { Input, isSettled };
