#!/usr/bin/env bash
# The providers' APIs: how many messages a second go out through each, over TLS, to a sink on this machine that takes
# everything at once.
#
#   usage: benches/apis.sh [MESSAGES]        FOLDER, BINARY, LOAD: as in benches/relay.sh
set -euo pipefail
cd "$(dirname "$0")/.."
. benches/common.sh

MESSAGES=${1:-20000}
declare -A provider=(
    [sendgrid]='transport: sendgrid, api_key: SG.load'
    [mailgun]='transport: mailgun, api_key: load, domain: sender.example'
    [ses]='transport: ses, region: eu-west-1, access_key_id: AKIALOAD, secret_access_key: load'
)
for name in sendgrid mailgun ses; do
    configure_waypost "$name"
    printf 'providers:\n  - {name: sink, %s, endpoint: "https://127.0.0.1:%s", concurrency: 64}\n' "${provider[$name]}" "$SINK" \
        >"$WORK/$name/providers/sink.yaml"
    (
        # The sink makes its certificate at its start, and the relay reads it at its own.
        while [ ! -s "$WORK/$name/trusted.pem" ]; do sleep 0.05; done
        cd "$WORK/$name" && SSL_CERT_FILE=$WORK/$name/trusted.pem exec "$BINARY" run --config "$WORK/$name"
    ) >>"$WORK/$name.log" 2>&1 &
    pids[$name]=$!
    "$LOAD" --listen "127.0.0.1:$SINK" --api "$WORK/$name/trusted.pem" --to "127.0.0.1:${ports[$name]}" --pid "${pids[$name]}" \
        --sessions 50 --messages "$MESSAGES" | sed "s/^/$name /"
    stop "${pids[$name]}"
done
