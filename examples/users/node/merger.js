#!/usr/bin/env node
'use strict';
// Merges what several look-ups found of a user: merger.js NETWORK...

const { Worker } = require('../../../clients/node'); // 'sluice-worker', where it is installed
const { read, write } = require('./record');

const networks = process.argv.slice(2);
const worker = new Worker({ concurrency: 1000, encoding: 'utf8' });
const waiting = new Map(); // by user: what is known, and the records that said so

worker.on('data', (record, input) => {
  const found = read(record);
  const { user, inputs } = waiting.get(found.id) ?? { user: {}, inputs: [] };
  Object.assign(user, found);
  inputs.push(input);
  if (!networks.every((network) => network in user)) {
    waiting.set(found.id, { user, inputs });
    return;
  }
  // It belongs to the last of them; none is done before all are there, so none is lost with this process.
  input.write(write(user));
  for (const each of inputs) each.done();
  waiting.delete(found.id);
});
