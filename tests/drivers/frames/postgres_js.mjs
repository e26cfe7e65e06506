import postgres from 'postgres'
import { cases, follower, plainly } from './cases.mjs'

const sql = postgres({ max: 1 })
for (const { ledger, text, data, document } of cases()) {
  const { running, handle } = follower(ledger)
  const request = 'request 1'
  let position = 0
  let sequence
  // the example
  console.log([ledger, sequence, 'retried'].join('\t'))
  await plainly(() => sql`SELECT ledger_append(${ledger}, 'text', ${text})`)
  await plainly(() => sql`SELECT ledger_append(${ledger}, 'bytes', ${data})`)
  await plainly(() => sql`SELECT ledger_append(${ledger}, 'json', ${JSON.stringify(document)})`)
}
await sql.end()
