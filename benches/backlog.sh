#!/usr/bin/env bash
# What a long outage costs: a backlog is built while the next hop is down, the relay is killed (-9) and started again, the
# next hop comes back.
#
# Tells memory with a tenth of the backlog and with all of it, how long a start takes until mail is accepted and until the
# first delivery, and the rate of the drain against the steady rate on an empty queue.
#
#   usage: benches/backlog.sh [MESSAGES]        FOLDER, BINARY, LOAD: as in benches/relay.sh
set -euo pipefail
cd "$(dirname "$0")/.."
. benches/common.sh

MESSAGES=${1:-1000000}
TENTH=$((MESSAGES / 10))

peak() { awk '/^VmHWM/ { printf "%d", $2 / 1024 }' "/proc/$1/status"; }
one() { sed -n "s/.*\b$1=\([^ ]*\).*/\1/p"; }
load() { "$LOAD" --sessions 50 --size 4096 "$@"; }

start_waypost waypost "$BINARY" ', retry: [30s]'
port=${ports[waypost]}
steady=$(load --to "127.0.0.1:$port" --listen "127.0.0.1:$SINK" --messages 50000 | tee /dev/stderr)
echo "steady: $(one end_to_end_s <<<"$steady")/s end to end, $(rss "${pids[waypost]}") MiB"

first=$(load --to "127.0.0.1:$port" --messages "$TENTH" --pid "${pids[waypost]}" | tee /dev/stderr)
echo "$TENTH queued: $(rss "${pids[waypost]}") MiB (peak $(peak "${pids[waypost]}")); accepted at $(one accepted_s <<<"$first")/s, $(one cpu_ms_per_1000 <<<"$first") ms of processor time per 1,000"
rest=$(load --to "127.0.0.1:$port" --messages $((MESSAGES - 2 * TENTH)) --first "$TENTH" | tee /dev/stderr)
last=$(load --to "127.0.0.1:$port" --messages "$TENTH" --first $((MESSAGES - TENTH)) --pid "${pids[waypost]}" | tee /dev/stderr)
echo "$MESSAGES queued: $(rss "${pids[waypost]}") MiB (peak $(peak "${pids[waypost]}")); accepted at $(one accepted_s <<<"$last")/s, $(one cpu_ms_per_1000 <<<"$last") ms of processor time per 1,000"
du -sm "$WORK/waypost" | awk '{ print "on disk: " $1 " MiB" }'

kill -9 "${pids[waypost]}"
wait "${pids[waypost]}" 2>/dev/null || true
"$LOAD" --listen "127.0.0.1:$SINK" --messages "$MESSAGES" >"$WORK/drain" &
drain=$!
begin=$(date +%s%N)
start_waypost waypost "$BINARY" ', retry: [30s]'
accepting=$(date +%s%N)
while [ "$(ss -Htn state established "sport = :$SINK" | awk '{ bytes += $1 } END { print NR }')" = 0 ]; do sleep 0.01; done
connected=$(date +%s%N)
echo "after kill -9: accepts after $(((accepting - begin) / 1000000)) ms, connects to the next hop after $(((connected - begin) / 1000000)) ms"
sleep 15
echo "draining: $(rss "${pids[waypost]}") MiB"
wait "$drain"
echo "$(cat "$WORK/drain")"
awk -v drain="$(one middle_s <"$WORK/drain")" -v steady="$(one middle_s <<<"$steady")" -v peak="$(peak "${pids[waypost]}")" \
    'BEGIN { printf "drain, of the middle 80%%: %d/s, %.2f of the steady rate; peak %d MiB\n", drain, drain / steady, peak }'
