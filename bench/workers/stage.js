#!/usr/bin/env node
'use strict';
// One stage of the benchmark of workers, in Node: stage.js tap RECORDS | filter | map | sink

const { Worker } = require('../../clients/node');

const [role, count] = process.argv.slice(2);
const worker = new Worker({ concurrency: 1000, source: role === 'tap' });
let seen = 0;

const listeners = {
  filter: (record, input) => {
    if (record[record.length - 1] === 0x78) input.write(record);
    input.done();
  },
  map: (record, input) => {
    record[record.length - 1] = 0x79;
    input.write(record);
    input.done();
  },
  sink: (record, input) => {
    seen += 1;
    input.done();
  },
};

function write(next) {
  const record = Buffer.alloc(100, 'x');
  for (let number = next; number < Number(count); number += 1) {
    record.write(String(number).padStart(20, '0'), 0, 'latin1');
    record[20] = 0x20;
    if (worker.write(record)) continue;
    worker.once('drain', () => setImmediate(write, number + 1));
    return;
  }
  worker.end();
}

if (role === 'tap') write(0);
else worker.on('data', listeners[role]);
if (role === 'sink') worker.on('end', () => worker.write(String(seen)));
