#!/usr/bin/env bash
# Abuse, and a well-behaved client beside it: the relay's memory before and at most, and what a whole transaction takes that
# client, calm and meanwhile. Each kind runs against a relay of its own, and is bounded in count and time.
#
# First from addresses that no limit by client stops (loopback is exempt): what the relay bears by itself. Then, for those that
# it stops, from one address that is a stranger.
#
#   usage: benches/abuse.sh [SECONDS]        FOLDER, BINARY, LOAD: as in benches/relay.sh
#          KINDS="idle connects …"           of: idle connects loris line recipients data logins
#          STRANGERS="connects …"            the same for the second part; empty leaves it out
set -euo pipefail
cd "$(dirname "$0")/.."
. benches/common.sh

SECONDS_EACH=${1:-10}
KINDS=${KINDS-idle connects loris line recipients data logins}
STRANGERS=${STRANGERS-idle connects loris logins}
ulimit -n "$(ulimit -Hn)"
[ "$(ulimit -n)" -ge 12000 ] || say "only $(ulimit -n) open files: 10,000 connections need 12,000"

# Of a password that nobody has, at argon2id's usual cost.
HASH='$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$d2F5cG9zdHdheXBvc3R3YXlwb3N0d2F5cG9zdHdheXA'

one() { sed -n "s/.* $1=\([^ ]*\).*/\1/p" <<<"$line"; }

# KIND WHO SOURCES [FURTHER LINES OF waypost.yaml]
abuse() {
    local kind=$1 who=$2 sources=$3 name=$2-$1 conf=$WORK/$2-$1 line
    configure_waypost "$name"
    cat >"$conf/waypost.yaml" <<END
hostname: waypost.example
listeners:
  - {name: load, address: "127.0.0.1:${ports[$name]}", authentication: optional, max_connections: 12000}
max_connections: 12000
users: [{name: billing, password: "$HASH"}]
queue: {path: $conf/queue.redb}
log: {format: json, level: ${LEVEL:-info}}
$ADMIN
${4:-}
END
    printf 'routes:\n  - {name: abuse, match: {recipient_domain: abuse.example}, discard: true}\n' >"$conf/routes/10-abuse.yaml"
    mv "$conf/routes/all.yaml" "$conf/routes/20-all.yaml"
    (cd "$conf" && exec "$BINARY" run --config "$conf") >>"$WORK/$name.log" 2>&1 &
    pids[$name]=$!
    wait_for_port "${ports[$name]}"
    line=$("$LOAD" --abuse "$kind" --seconds "$SECONDS_EACH" --sources "$sources" --messages 1000000 --to "127.0.0.1:${ports[$name]}" \
        --listen "127.0.0.1:$SINK" --pid "${pids[$name]}") || { say "$line"; say "the well-behaved client was not served"; failed=yes; }
    say "$who $line"
    if ! kill -0 "${pids[$name]}" 2>/dev/null || grep -q panicked "$WORK/$name.log"; then
        tail -n 5 "$WORK/$name.log" >&2
        say "the relay did not survive $kind"
        exit 1
    fi
    stop "${pids[$name]}"
    echo "| $kind, $who | $(one did) | $(one rss_mib) | $(one most_mib) | $(one calm_p50_ms) / $(one calm_p99_ms) |" \
        "$(one beside_p50_ms) / $(one beside_p99_ms) / $(one beside_max_ms) | $(one replies) |"
}

failed=no
echo '| abuse | done | MiB before | MiB at most | calm p50 / p99 ms | beside it p50 / p99 / max ms | replies |'
echo '|---|---|---|---|---|---|---|'
for kind in $KINDS; do abuse "$kind" trusted 8; done
for kind in $STRANGERS; do abuse "$kind" stranger 1 'exempt_clients: [127.0.0.1]'; done
[ "$failed" = no ]
