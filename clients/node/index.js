'use strict';

const { Input } = require('./lib/input');
const { Worker } = require('./lib/worker');

module.exports = { Input, Worker };
