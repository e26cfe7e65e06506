// What the programs in JavaScript share: the cases that they are given, and what they tell.
import { readFileSync } from 'node:fs'

// One line for each: context, and in hexadecimal digits text, bytes and JSON.
export function cases() {
  const lines = readFileSync(0, 'utf8').trimEnd().split('\n')
  return lines.map((line) => {
    const [ledger, ...values] = line.split('\t')
    const [text, data, document] = values.map((value) => Buffer.from(value, 'hex'))
    return { ledger, text: text.toString(), data, document: JSON.parse(document.toString()) }
  })
}

// Handles the entries of a context until all that the example has appended were there.
export function follower(ledger) {
  let handled = 0
  return {
    running: () => handled < 4,
    handle(sequence, key, payload) {
      console.log([ledger, sequence, key, payload.toString('hex')].join('\t'))
      handled += 1
    },
  }
}

// Calls the overloaded function in the plainest way: it may refuse.
export async function plainly(append) {
  try {
    await append()
  } catch (error) {
    console.error('refused:', error.message)
  }
}
