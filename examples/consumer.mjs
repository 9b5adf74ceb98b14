// A Consumer in plain JavaScript (Node 20, no packages): takes events by the fallback door, answers, sends results.
//
//   CONSUMER_WEBHOOK_SECRETS=whsec_… RESULT_WEBHOOK_SECRET=whsec_… PRODUCER_URL=http://127.0.0.1:8000 PORT=9000 \
//     node examples/consumer.mjs
//
// It remembers in memory. A real one writes to its database before it answers: after a 2xx the event is yours.
import { createHmac, createPublicKey, randomUUID, timingSafeEqual, verify as verifyEd25519 } from 'node:crypto'
import { createServer } from 'node:http'

const TOLERANCE_SECONDS = 300
const MAX_BODY_BYTES = 256 * 1024
const FIRST_RETRY_MS = 500, LAST_RETRY_MS = 60_000
// The whpk_… keys of GET /.well-known/webhook-keys go here too, if the Producer signs with ed25519.
const producerKeys = (process.env.CONSUMER_WEBHOOK_SECRETS ?? '').split(/[\s,]+/).filter(Boolean)
const resultSecret = process.env.RESULT_WEBHOOK_SECRET
const producerUrl = process.env.PRODUCER_URL ?? 'http://127.0.0.1:8000'
if (!producerKeys.length || !resultSecret) throw new Error('Set CONSUMER_WEBHOOK_SECRETS and RESULT_WEBHOOK_SECRET.')

const decode = (key) => Buffer.from(key.replace(/^wh(sec|pk)_/, ''), 'base64')
const hmac = (key, content) => createHmac('sha256', decode(key)).update(content).digest()
// What is signed: the raw bytes, never JSON that was read and written again.
const content = (id, timestamp, body) => Buffer.concat([Buffer.from(`${id}.${timestamp}.`), body])

function proves (key, version, signature, signed) {
  if (key.startsWith('whpk_')) {
    const spki = Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), decode(key)])
    const publicKey = createPublicKey({ key: spki, format: 'der', type: 'spki' })
    return version === 'v1a' && verifyEd25519(null, signed, publicKey, signature)
  }
  const expected = hmac(key, signed)
  return version === 'v1' && signature.length === expected.length && timingSafeEqual(signature, expected)
}

// True only when one of the signatures is by one of our keys, and now. While keys rotate there are several of each.
function isFromProducer (headers, body) {
  const id = headers['webhook-id'] ?? '', timestamp = headers['webhook-timestamp'] ?? ''
  if (!/^[!-\-/-~]{1,255}$/.test(id) || !/^[0-9]{1,12}$/.test(timestamp)) return false
  if (Math.abs(Math.floor(Date.now() / 1000) - Number(timestamp)) > TOLERANCE_SECONDS) return false
  const signed = content(id, timestamp, body)
  return (headers['webhook-signature'] ?? '').split(' ').slice(0, 16).some((entry) => {
    const [version, text = ''] = entry.split(',')
    return producerKeys.some((key) => proves(key, version, Buffer.from(text, 'base64'), signed))
  })
}

const seenIds = new Map() // event id -> its result, null for none; a copy may come again by the broker and by POST
const lastSequence = new Map() // transaction id -> newest version

// Decides an event once. The result keeps its id and its bytes, whatever is repeated.
function decide (event) {
  if ((lastSequence.get(event.subject) ?? '') >= event.sequence) return null // newer was seen: drop (20 digits, so text compares)
  lastSequence.set(event.subject, event.sequence)
  if (event.type === 'transaction.canceled') return null
  const txn = event.data.transaction
  return {
    id: `res_${randomUUID()}`,
    body: Buffer.from(JSON.stringify({
      type: 'transaction.succeeded',
      timestamp: new Date().toISOString(),
      // An amount is a string and stays one: a JavaScript number would lose digits.
      data: { transaction_id: txn.id, transaction_version: txn.version, processed_data: { amount: txn.amount } }
    }))
  }
}

// Repeats until the Producer has it: same id and bytes, a fresh timestamp and signature. Only 2xx is success.
async function send (result) {
  for (let wait = FIRST_RETRY_MS; ; wait = Math.min(wait * 2, LAST_RETRY_MS)) {
    const timestamp = Math.floor(Date.now() / 1000)
    const signature = hmac(resultSecret, content(result.id, timestamp, result.body)).toString('base64')
    const answer = await fetch(`${producerUrl}/api/v1/webhooks/results`, {
      method: 'POST',
      redirect: 'manual',
      signal: AbortSignal.timeout(15_000),
      headers: {
        'Content-Type': 'application/json',
        'webhook-id': result.id,
        'webhook-timestamp': String(timestamp),
        'webhook-signature': `v1,${signature}`
      },
      body: result.body
    }).catch((error) => ({ status: 0, headers: new Headers(), error }))
    await answer.arrayBuffer?.().catch(() => {})
    console.log(`result ${result.id} ${answer.status}`)
    if (answer.status >= 200 && answer.status < 300) return
    // 401: our clock or our key. 422: the id was used for other bytes. Repeating helps neither: a person must look.
    if ([400, 401, 410, 413, 415, 422].includes(answer.status)) return
    const asked = Number(answer.headers.get('retry-after')) * 1000 || 0
    await new Promise((resolve) => setTimeout(resolve, Math.min(Math.max(asked, wait * Math.random()), LAST_RETRY_MS)))
  }
}

async function read (request) {
  const chunks = []
  let size = 0
  for await (const chunk of request) {
    size += chunk.length
    if (size > MAX_BODY_BYTES) return null
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

async function receive (request) {
  if (request.url !== '/webhooks/events') return 404
  if (request.method !== 'POST') return 405
  if (request.headers['content-type'] !== 'application/cloudevents+json') return 415
  const body = await read(request)
  if (body === null) return 413
  if (!isFromProducer(request.headers, body)) return 401
  const event = JSON.parse(body)
  const known = seenIds.has(event.id)
  if (!known) seenIds.set(event.id, decide(event))
  const result = seenIds.get(event.id)
  if (result) setImmediate(send, result) // after the answer; a copy means that the Producer lacks the result
  return known ? 200 : 202
}

const server = createServer(async (request, response) => {
  const status = await receive(request).catch((error) => { console.error(error); return 500 })
  response.writeHead(status, { 'Content-Length': 0, ...(status === 413 && { Connection: 'close' }) }).end()
})
server.listen(Number(process.env.PORT ?? 9000), '127.0.0.1', () => console.log(`listening ${server.address().port}`))
