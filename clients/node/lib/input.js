'use strict';

class Input {
  #worker;
  #settled = false;

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

  get settled() {
    return this.#settled;
  }

  #settle() {
    if (this.#settled) throw new Error(`record ${this.id} is settled already`);
    this.#settled = true;
  }
}

module.exports = { Input };
