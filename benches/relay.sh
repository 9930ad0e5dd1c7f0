#!/usr/bin/env bash
# Waypost against a tuned Postfix relay: the same load, the same sink, the same disk, in turns, in one run.
#
#   source --> relay --> sink        both ends are benches/load, which numbers its messages
#
# For each job (sessions, size, recipients) and round each relay gets the load once; the medians are compared. Then the same
# load goes from source to sink without a relay: what no relay can exceed. Needs Debian's postfix package (tests/run
# installs it), and root or sudo for Postfix's master.
#
#   usage: benches/relay.sh [ROUNDS]
#          FOLDER=/on/the/disk       where the queues lie; default: target, since /tmp is memory on many machines
#          JOBS="100:4096:1 …"       sessions:octets:recipients
#          MESSAGES=20000            of a job with 4 KiB; others get a part of that
#          OTHER=/path/to/waypost    a second waypost to compare with
set -euo pipefail
cd "$(dirname "$0")/.."
. benches/common.sh

ROUNDS=${1:-3}
JOBS=${JOBS:-1:4096:1 20:4096:1 100:4096:1 20:102400:1 20:4096:10}
MESSAGES=${MESSAGES:-20000}

relays=(postfix waypost chunks)
start_postfix
start_waypost waypost "$BINARY"
# The same, told to send small mail in one write.
SINK_KEYS=', chunking: true' start_waypost chunks "$BINARY"
if [ -n "${OTHER:-}" ]; then
    start_waypost other "$OTHER"
    relays+=(other)
fi

# Messages of a job: about as long for each.
count() {
    local sessions=$1 size=$2 recipients=$3 n=$MESSAGES
    [ "$sessions" -gt 1 ] || n=$((n / 8))
    [ "$size" -lt 50000 ] || n=$((n / 5))
    [ "$recipients" -lt 5 ] || n=$((n / 4))
    echo "$n"
}

field() { sed -n "s/.*\b$1=\([^ ]*\).*/\1/p" | median; }

say "$ROUNDS rounds; $(nproc) processors; $(df --output=source "$WORK" | tail -n 1)"
echo '| sessions, octets, recipients | relay | end to end /s | accepted /s | p50 / p99 ms | CPU ms per 1,000 | against Postfix |'
echo '|---|---|---|---|---|---|---|'
for job in $JOBS; do
    IFS=: read -r sessions size recipients <<<"$job"
    n=$(count "$sessions" "$size" "$recipients")
    load=(--sessions "$sessions" --size "$size" --recipients "$recipients" --messages "$n")
    for round in $(seq "$ROUNDS"); do
        for relay in "${relays[@]}"; do
            "$LOAD" --listen "127.0.0.1:$SINK" --to "127.0.0.1:${ports[$relay]}" --pid "${pids[$relay]}" "${load[@]}" \
                | tee -a "$WORK/$job.$relay" | sed "s/^/round $round $relay /" >&2
        done
        "$LOAD" --listen "127.0.0.1:$SINK" --to "127.0.0.1:$SINK" "${load[@]}" >>"$WORK/$job.direct"
    done
    against=$(field end_to_end_s <"$WORK/$job.postfix")
    for relay in "${relays[@]}" direct; do
        result=$WORK/$job.$relay
        if grep -q 'missing=[1-9]' "$result"; then say "$relay lost messages in $job"; exit 1; fi
        rate=$(field end_to_end_s <"$result")
        awk -v job="${job//:/, }" -v relay="$relay" -v rate="$rate" -v accepted="$(field accepted_s <"$result")" \
            -v p50="$(field p50_ms <"$result")" -v p99="$(field p99_ms <"$result")" \
            -v cpu="$(field cpu_ms_per_1000 <"$result")" -v postfix="$against" \
            'BEGIN { printf "| %s | %s | %d | %d | %.1f / %.1f | %s | %.2f |\n", job, relay, rate, accepted, p50, p99, cpu, rate / postfix }'
    done
done
