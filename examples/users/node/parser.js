#!/usr/bin/env node
'use strict';
// Reads a user file, and writes a record for each of its lines: parser.js FILE

const { once } = require('node:events');
const fs = require('node:fs');
const readline = require('node:readline');
const { Worker } = require('../../../clients/node'); // 'sluice-worker', where it is installed
const { write } = require('./record');

async function main(file) {
  const worker = new Worker({ source: true });
  let names;
  for await (const line of readline.createInterface({ input: fs.createReadStream(file) })) {
    const values = line.split(',');
    if (!names) {
      names = values;
      continue;
    }
    const taken = worker.write(write(Object.fromEntries(names.map((name, i) => [name, values[i]]))));
    if (!taken) await once(worker, 'drain');
  }
  worker.end();
}

main(process.argv[2]);
