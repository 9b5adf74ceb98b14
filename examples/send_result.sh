#!/usr/bin/env bash
# Sends one signed result and asks for its receipt, with curl and openssl only.
#
#   RESULT_WEBHOOK_SECRET=whsec_… PRODUCER_URL=http://127.0.0.1:8000 examples/send_result.sh TRANSACTION_ID VERSION '{"reference":"BK-1"}'
#
# Run it again with WEBHOOK_ID and TIMESTAMP of the first run set, and the Producer answers 200: it has that one already.
set -euo pipefail

producer=${PRODUCER_URL:-http://127.0.0.1:8000}
transaction=$1 version=$2 processed=$3
id=${WEBHOOK_ID:-res_$(openssl rand -hex 16)}
made_at=${TIMESTAMP:-$(date -u +%Y-%m-%dT%H:%M:%SZ)}
body='{"type":"transaction.succeeded","timestamp":"'$made_at'","data":{"transaction_id":"'$transaction'","transaction_version":'$version',"processed_data":'$processed'}}'

# The secret is base64 after whsec_, and openssl wants its bytes as hex. Other users of the host can see it in the list
# of processes for a moment: for a script by hand, not for a server.
key=$(printf %s "${RESULT_WEBHOOK_SECRET#whsec_}" | base64 -d | od -An -vtx1 | tr -d ' \n')

# Signed is id.timestamp.body; the timestamp is that of this attempt, not of the result.
sign() { # id, unix seconds, body
  printf 'v1,'
  printf %s "$1.$2.$3" | openssl dgst -sha256 -mac HMAC -macopt "hexkey:$key" -binary | base64
}

now=$(date +%s)
curl --silent --show-error --fail-with-body --max-time 15 --retry 3 "$producer/api/v1/webhooks/results" \
  -H 'Content-Type: application/json' -H "webhook-id: $id" -H "webhook-timestamp: $now" \
  -H "webhook-signature: $(sign "$id" "$now" "$body")" --data-binary "$body"
echo

# The receipt: signed like a delivery, with the id that is asked for and an empty body.
curl --silent --show-error --fail-with-body --max-time 15 "$producer/api/v1/webhooks/results/$id" \
  -H "webhook-id: $id" -H "webhook-timestamp: $now" -H "webhook-signature: $(sign "$id" "$now" '')"
echo
