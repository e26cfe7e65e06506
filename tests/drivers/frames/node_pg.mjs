import pg from 'pg'
import { cases, follower, plainly } from './cases.mjs'

const client = new pg.Client()
await client.connect()
for (const { ledger, text, data, document } of cases()) {
  const { running, handle } = follower(ledger)
  const request = 'request 1'
  let position = 0
  let sequence
  // the example
  console.log([ledger, sequence, 'retried'].join('\t'))
  const overloaded = 'SELECT ledger_append($1, $2, $3)'
  await plainly(() => client.query(overloaded, [ledger, 'text', text]))
  await plainly(() => client.query(overloaded, [ledger, 'bytes', data]))
  await plainly(() => client.query(overloaded, [ledger, 'json', JSON.stringify(document)]))
}
await client.end()
