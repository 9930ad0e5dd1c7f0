#!/usr/bin/env bash
# Takes the pictures of docs/admin.md anew: a relay with some minutes of traffic, one provider out, a host that answers nobody,
# and mail that is held. Needs what tests/run installs (Chromium, Playwright, Postfix's smtp-sink).
#
#   usage: docs/images/take.sh [MINUTES]        BINARY: the relay, else a release build
set -euo pipefail
cd "$(dirname "$0")/../.."
. benches/common.sh

MINUTES=${1:-8}
BROWSER=$(command -v chromium || command -v google-chrome)
dead=$(port)
hook=$(port)
export WAYPOST_HOOK_SECRET=of-the-pictures
declare -A sinks=([sendgrid]=$(port) [ses]=$(port) [internal]=$(port))

sink() {
    local as=()
    [ "$(id -u)" != 0 ] || as=(-u postfix)
    smtp-sink "${as[@]}" "127.0.0.1:${sinks[$1]}" 100 >/dev/null 2>"$WORK/sink.log" &
    pids[$1]=$!
    wait_for_port "${sinks[$1]}"
}
for name in "${!sinks[@]}"; do sink "$name"; done

# Whoever is on duty: takes every note.
python3 - "$hook" <<'END' 2>/dev/null &
import http.server, sys

class Hook(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()

http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Hook).serve_forever()
END
pids[hook]=$!

ports[relay]=$(port)
conf=$WORK/relay
mkdir -p "$conf/routes" "$conf/providers"
cat >"$conf/waypost.yaml" <<END
hostname: relay.shop.example
listeners: [{name: apps, address: "127.0.0.1:${ports[relay]}"}]
queue: {path: $conf/queue.redb, retry: [30s, 1m, 5m]}
admin: {address: "127.0.0.1:0"}
log: {format: json, level: warn}
alerts:
  to: [{name: on-duty, webhook: "http://127.0.0.1:$hook/alerts", secret: "\${env:WAYPOST_HOOK_SECRET}"}]
  rules: {breaker: 5s, settle: 20s, oldest: {partner: 2m, "*": 1h}}
END
cat >"$conf/routes/all.yaml" <<'END'
routes:
  - {name: internal, match: {recipient_domain: "*.corp.example"}, deliver: [internal]}
  - {name: partner, match: {recipient_domain: partner.example}, deliver: [partner]}
  - {name: legal, match: {recipient: "claims@*"}, hold: "read by the legal team first"}
  - {name: newsletters, match: {sender: "news@shop.example"}, deliver: [{sendgrid: 80, ses: 20}], rate: 20/s}
  - {name: receipts, match: {sender_domain: shop.example}, deliver: [sendgrid, ses]}
  - {name: everything-else, deliver: [ses]}
END
cat >"$conf/providers/all.yaml" <<END
providers:
  - {name: sendgrid, transport: smtp, host: 127.0.0.1, port: ${sinks[sendgrid]}, tls: none, rate: 100/s}
  - {name: ses, transport: smtp, host: 127.0.0.1, port: ${sinks[ses]}, tls: none, quota: 50000/d}
  - {name: internal, transport: smtp, host: 127.0.0.1, port: ${sinks[internal]}, tls: none}
  - {name: partner, transport: smtp, host: 127.0.0.1, port: $dead, tls: none}
END
"$BINARY" check --config "$conf" >&2
(cd "$conf" && exec "$BINARY" run --config "$conf") >"$WORK/relay.log" 2>&1 &
pids[relay]=$!
wait_for_port "${ports[relay]}"

python3 - "${ports[relay]}" <<'END' &
import random, smtplib, sys, time
from email.message import EmailMessage

random.seed(7)
people = "bob eve ann tom kim lea max zoe".split()
kinds = [
    (6, "app@shop.example", lambda: f"{random.choice(people)}@customer.example", "Your receipt"),
    (4, "news@shop.example", lambda: f"{random.choice(people)}{random.randrange(999)}@mail.example", "What is new"),
    (2, "erp@back.example", lambda: f"{random.choice(people)}@hq.corp.example", "Stock report"),
    (0.1, "app@shop.example", lambda: f"{random.choice(people)}@partner.example", "Order"),
    (0.05, "web@shop.example", lambda: "claims@customer.example", "A claim"),
]
with smtplib.SMTP("127.0.0.1", int(sys.argv[1])) as smtp:
    while True:
        _, sender, recipient, subject = random.choices(kinds, [kind[0] for kind in kinds])[0]
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = sender, recipient(), subject
        message.set_content("x" * random.randrange(200, 4000))
        smtp.send_message(message)
        time.sleep(random.expovariate(8 + 4 * random.random()))
END
pids[traffic]=$!

sleep $((MINUTES * 30))
stop "${pids[sendgrid]}"
sleep $((MINUTES * 15))
sink sendgrid
sleep $((MINUTES * 14))
stop "${pids[sendgrid]}"
sleep 25
NODE_PATH=.tools/playwright/node_modules node docs/images/take.js "http://$(cat "$conf/admin.address")" "$(cat "$conf/admin.token")" "$BROWSER" docs/images
