// Signs and verifies with the official library: a JSON list of requests on stdin, a JSON list of answers on stdout.
const { Webhook } = require('standardwebhooks')

const answer = ({ op, secret, id, timestamp, body, signature }) => {
  const webhook = new Webhook(secret)
  if (op === 'sign') return webhook.sign(id, new Date(timestamp * 1000), body)
  const headers = { 'webhook-id': id, 'webhook-timestamp': String(timestamp), 'webhook-signature': signature }
  try {
    webhook.verify(body, headers)
    return true
  } catch (error) {
    return false
  }
}

const requests = JSON.parse(require('node:fs').readFileSync(0, 'utf8'))
process.stdout.write(JSON.stringify(requests.map(answer)))
