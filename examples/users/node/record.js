'use strict';
// The records of this example: fields NAME=VALUE with tabs between them, as `id=1<TAB>name=Ada Lovelace`.

function read(record) {
  return Object.fromEntries(record.split('\t').map((field) => {
    const equals = field.indexOf('=');
    return [field.slice(0, equals), field.slice(equals + 1)];
  }));
}

function write(fields) {
  return Object.entries(fields).map(([name, value]) => `${name}=${value}`).join('\t');
}

module.exports = { read, write };
