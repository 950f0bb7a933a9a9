#!/usr/bin/env node
'use strict';
// The conformance worker of the Node library (tests/conformance/README.md).

const { Worker } = require('../../../clients/node');

const option = (name) => {
  const at = process.argv.indexOf(name);
  return at < 0 ? undefined : process.argv[at + 1];
};

const count = option('--source');
const worker = new Worker({ concurrency: Number(option('--concurrency') ?? 1), source: count !== undefined });
const held = [];
const batch = [];

function answer(input, ...outputs) {
  for (const output of outputs) input.write(output);
  input.done();
}

function split(bytes) {
  const colon = bytes.indexOf(':');
  return colon < 0 ? ['', bytes] : [bytes.toString('latin1', 0, colon), bytes.subarray(colon + 1)];
}

const verbs = {
  echo: (input, argument) => answer(input, argument),
  many: (input, argument) => {
    const [times, output] = split(argument);
    for (let i = 0; i < Number(times); i += 1) input.write(output);
    input.done();
  },
  none: (input) => input.done(),
  size: (input, argument, record) => answer(input, String(record.length)),
  attempt: (input) => answer(input, `${input.id} ${input.attempt}`),
  fail: (input, argument) => {
    input.write('dropped');
    input.fail(argument.toString());
  },
  throw: (input, argument) => {
    throw new Error(argument.toString());
  },
  hold: (input) => {
    held.push(input);
    worker.write('held');
  },
  release: (input) => {
    while (held.length > 0) answer(held.pop(), 'released');
    input.done();
  },
  batch: (input, argument) => batch.push([input, argument]),
  later: (input, argument) => {
    const [milliseconds, output] = split(argument);
    setTimeout(() => answer(input, output), Number(milliseconds));
  },
  block: (input, argument) => {
    const [milliseconds, output] = split(argument);
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, Number(milliseconds));
    answer(input, output);
  },
  long: (input, argument) => answer(input, Buffer.alloc(Number(argument), 'x')),
  pause: (input, argument) => {
    worker.pause();
    input.done();
    setTimeout(() => worker.resume(), Number(argument));
  },
  concurrency: (input, argument) => {
    worker.concurrency = Number(argument);
    input.done();
  },
  leave: (input) => {
    worker.end();
    input.done();
  },
  print: (input, argument) => {
    console.log(argument.toString());
    input.done();
  },
};

worker.on('data', (record, input) => {
  const [verb, argument] = split(record);
  if (Object.hasOwn(verbs, verb)) verbs[verb](input, argument, record);
  else answer(input, record);
});

worker.on('idle', () => {
  for (const [input, output] of batch.splice(0)) answer(input, output);
});

if (process.argv.includes('--last-words')) worker.on('end', () => worker.write('last words'));

function writeNumbers(next) {
  for (let number = next; count === 'endless' || number < Number(count); number += 1) {
    if (worker.write(String(number))) continue;
    worker.once('drain', () => setImmediate(writeNumbers, number + 1));
    return;
  }
  worker.end();
}

if (count === 'slow') {
  worker.write('0');
  setTimeout(() => {}, 3600_000);
} else if (count !== undefined) {
  writeNumbers(0);
}
