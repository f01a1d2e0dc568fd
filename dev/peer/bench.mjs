// The same work as `s3db-bench peer` does, with s3db.js, to be run in turns with it on one server:
//
//     node dev/peer/bench.mjs MODULE URL [OPERATIONS]
//
// MODULE is the path of s3db.js's ES module, which is no part of this repository; URL names an empty
// prefix, as in http://KEY:SECRET@127.0.0.1:8333/bucket/peer.

import { pathToFileURL } from 'node:url';

const [path, url, operations] = [process.argv[2], process.argv[3], Number(process.argv[4] ?? 200)];
const { S3db } = await import(pathToFileURL(path).href);
const AT_ONCE = 64;
const text = 'x'.repeat(1000);
const behavior = 'body-overflow';

const db = new S3db({ connectionString: url, passphrase: 'x', parallelism: AT_ONCE });
await db.connect();
const rows = await db.createResource({ name: 'rows', attributes: { text: 'string' }, behavior });
const parts = await db.createResource({
  name: 'parts', attributes: { text: 'string', c: 'string' }, behavior, partitions: { byC: { fields: { c: 'string' } } },
});

async function round(what, count, atOnce, calls, work) {
  const begun = process.hrtime.bigint();
  let next = 0;
  const worker = async () => {
    for (let i = next++; i < calls; i = next++) await work(i);
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  const seconds = Number(process.hrtime.bigint() - begun) / 1e9;
  console.log(`${what.padEnd(34)} ${(count / seconds).toFixed(1).padStart(9)}/s`);
}

for (let turn = 0; turn < 3; turn++) {
  const id = (i) => `t${String(turn * operations + i).padStart(8, '0')}`;
  const each = (what, work) => round(what, operations, AT_ONCE, operations, work);
  await each('insert', (i) => rows.insert({ id: id(i), text }));
  await each('insert, one partition', (i) => parts.insert({ id: id(i), text, c: `c${i % 10}` }));
  await each('get', (i) => rows.get(id(i)));
  await each('update', (i) => rows.update(id(i), { text: text.replaceAll('x', 'y') }));
  const all = (turn + 1) * operations;
  await round('list of all, rows', all, 1, 1, () => rows.list());
  await round('list of a partition, rows', all / 10, 1, 1, () => parts.list({ partition: 'byC', partitionValues: { c: 'c1' } }));
}
process.exit(0);
