// SPDX-License-Identifier: MIT
//
// What of node goes through malloc and operator new: buffers, zlib and crypto in the thread pool, file operations,
// worker threads (each an isolate of its own) and child processes.
'use strict';
const crypto = require('crypto');
const fs = require('fs');
const zlib = require('zlib');
const { execFileSync } = require('child_process');
const { promisify } = require('util');
const { Worker, isMainThread, parentPort, workerData } = require('worker_threads');

const sha = (data) => crypto.createHash('sha256').update(data).digest('hex');

function objects(seed) {
  let state = seed;
  const random = (limit) => (state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff) % limit;
  const map = new Map();
  for (let i = 0; i < 60000; i++) {
    const key = 'key' + random(5000);
    if (random(3) === 0) map.delete(key);
    else map.set(key, { i, buffer: Buffer.allocUnsafeSlow(random(900) + 1).fill(i & 255) });
  }
  const hash = crypto.createHash('sha256');
  for (const key of [...map.keys()].sort()) hash.update(key).update(map.get(key).buffer);
  return `${map.size} ${hash.digest('hex')}`;
}

if (!isMainThread) {
  const { number } = workerData;
  parentPort.postMessage({ number, objects: objects(number), buffer: Buffer.alloc(number * 300, number) });
} else {
  main();
}

async function main() {
  console.log('objects', objects(1));

  const text = Array.from({ length: 20000 }, (_, i) => JSON.stringify({ id: i, name: 'n' + (i * 7919) % 1009 })).join('\n');
  const packed = await Promise.all(
    Array.from({ length: 24 }, (_, i) => promisify(i % 2 ? zlib.deflate : zlib.brotliCompress)(
      text.slice(i * 1000, i * 1000 + 60000),
      i % 2 ? { level: 1 + (i % 9) } : { params: { [zlib.constants.BROTLI_PARAM_QUALITY]: i % 6 } })));
  const unpacked = await Promise.all(packed.map((data, i) => promisify(i % 2 ? zlib.inflate : zlib.brotliDecompress)(data)));
  console.log('compressed', sha(Buffer.concat(packed)), sha(Buffer.concat(unpacked)));

  const keys = await Promise.all(Array.from({ length: 40 }, (_, i) =>
    promisify(crypto.pbkdf2)('secret' + i, 'salt', 50 + i, 64, 'sha512')));
  console.log('keys', sha(Buffer.concat(keys)));
  const { publicKey, privateKey } = await promisify(crypto.generateKeyPair)('ec', { namedCurve: 'P-256' });
  const signature = crypto.sign('sha256', Buffer.from(text), privateKey);
  console.log('signed', crypto.verify('sha256', Buffer.from(text), publicKey, signature));

  await Promise.all(Array.from({ length: 200 }, (_, i) => fs.promises.writeFile(`file${i}`, 'x'.repeat(i * 11) + i)));
  const files = await Promise.all(Array.from({ length: 200 }, (_, i) => fs.promises.readFile(`file${i}`)));
  console.log('files', sha(Buffer.concat(files)), fs.readdirSync('.').length);

  for (let round = 0; round < 2; round++) {
    const answers = await Promise.all(Array.from({ length: 3 }, (_, i) => new Promise((resolve, reject) => {
      const worker = new Worker(__filename, { workerData: { number: i + 1 } });
      let answer;
      worker.on('message', (message) => { answer = message; });
      worker.on('error', reject);
      worker.on('exit', (code) => resolve({ code, ...answer }));
    })));
    for (const { code, number, objects, buffer } of answers) console.log('worker', number, code, objects, sha(buffer));
  }
  console.log('child', execFileSync(process.execPath, ['-p', '[1, 2, 3].map((n) => n ** n).join()']).toString().trim());
}
