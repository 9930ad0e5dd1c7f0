#!/usr/bin/env bash
# What the audit trail costs: the relay job with it, without it and with hashed addresses, in turns; then many messages through the one
# with it, and how long it takes to find one of them again and to verify all.
#
#   usage: benches/trail.sh [ROUNDS] [MESSAGES]        FOLDER, BINARY, LOAD: as in benches/relay.sh
set -euo pipefail
cd "$(dirname "$0")/.."
. benches/common.sh

ROUNDS=${1:-5}
MESSAGES=${2:-1000000}

kinds=(on off hashed)
ADMIN='admin: {address: "127.0.0.1:0"}'
declare -A audit=([on]='{keep: 90d}' [off]='off' [hashed]='{addresses: hashed}')
own=$ADMIN
for kind in "${kinds[@]}"; do
    ADMIN="$own"$'\n'"audit: ${audit[$kind]}"
    start_waypost "$kind" "$BINARY"
done

echo '| sessions | trail | end to end /s | CPU ms per 1,000 | p99 ms |'
echo '|---|---|---|---|---|'
for job in 1:2500 20:20000 100:20000; do
    sessions=${job%:*}
    for _ in $(seq "$ROUNDS"); do
        for kind in "${kinds[@]}"; do
            "$LOAD" --sessions "$sessions" --messages "${job#*:}" --to "127.0.0.1:${ports[$kind]}" --listen "127.0.0.1:$SINK" \
                --pid "${pids[$kind]}" >>"$WORK/$sessions.$kind"
        done
    done
    for kind in "${kinds[@]}"; do
        of() { sed -n "s/.*\b$1=\([^ ]*\).*/\1/p" "$WORK/$sessions.$kind" | median; }
        echo "| $sessions | $kind | $(of end_to_end_s) | $(of cpu_ms_per_1000) | $(of p99_ms) |"
    done
done

trace() { "$BINARY" --config "$WORK/on" trace "$@"; }
seconds() { local TIMEFORMAT=%R; { time "$@" >/dev/null 2>&1; } 2>&1; }
octets() { stat --format %s "$WORK/on/audit.redb"; }
before=$(octets)
"$LOAD" --sessions 100 --size 1024 --messages "$MESSAGES" --to "127.0.0.1:${ports[on]}" --listen "127.0.0.1:$SINK" >"$WORK/many"
grep -q ' missing=0 ' "$WORK/many" || { cat "$WORK/many"; exit 1; }
memory=$(rss "${pids[on]}")
stop "${pids[on]}"
mid=$(trace --since 1m --event delivered --json | sed -n '2s/.*"mid":"\([^"]*\)".*/\1/p')
echo "$MESSAGES messages: $((($(octets) - before) / MESSAGES)) octets each in the file, $memory MiB resident"
echo "by message id $(seconds trace "$mid") s, an address that is not there $(seconds trace nobody@nowhere.example) s, verify $(seconds trace --verify) s"
trace --verify | tail -1
