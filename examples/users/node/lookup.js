#!/usr/bin/env node
'use strict';
// Looks up the account of each user: lookup.js NETWORK. In place of a network that answers, it waits a moment.

const { setTimeout: wait } = require('node:timers/promises');
const { Worker } = require('../../../clients/node'); // 'sluice-worker', where it is installed
const { read, write } = require('./record');

const network = process.argv[2];
const milliseconds = 1000 * (process.env.LOOKUP_SECONDS ?? 0.001);
const worker = new Worker({ concurrency: 10, encoding: 'utf8' });

worker.on('data', async (record, input) => {
  const user = read(record);
  await wait(milliseconds);
  user[network] = `${user.name.split(' ')[0].toLowerCase()}.${user.id}@${network}`;
  input.write(write(user));
  input.done();
});
