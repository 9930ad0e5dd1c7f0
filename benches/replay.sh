#!/usr/bin/env bash
# How long `waypost diff --replay` takes over a large audit trail, and what it costs the relay when that runs.
#
# The trail is filled by real mail: each message has its own recipient, in one of 1,000 domains, and leaves two entries in the
# trail (accepted, delivered). Then a route of the hundred is changed, and the days' mail asked of both tables.
#
#   usage: benches/replay.sh [MESSAGES]        FOLDER, BINARY, LOAD: as in benches/relay.sh
set -euo pipefail
cd "$(dirname "$0")/.."
. benches/common.sh

MESSAGES=${1:-1000000}

# A hundred routes; the first of them goes by CHAIN.
routes() {
    local n
    echo 'routes:'
    echo "  - {name: changed, match: {sender: ['app@s7.example', '*@s8.example'], recipient_domain: '*.example'}, deliver: [$1]}"
    for n in $(seq 98); do
        echo "  - {name: r$n, match: {sender_domain: '*.t$n.example', recipient_domain: e$n.example}, deliver: [sink]}"
    done
    echo '  - {name: all, deliver: [sink]}'
}

for addresses in clear hashed; do
    name=$addresses
    ADMIN="admin: {address: \"127.0.0.1:0\"}
audit: {addresses: $addresses}"
    configure_waypost "$name"
    conf=$WORK/$name
    routes sink >"$conf/routes/all.yaml"
    # start_waypost writes the configuration anew: it is started by hand.
    (cd "$conf" && exec "$BINARY" run --config "$conf") >>"$WORK/$name.log" 2>&1 &
    pids[$name]=$!
    wait_for_port "${ports[$name]}"
    "$LOAD" --sessions 50 --size 1024 --domains 1000 --messages "$MESSAGES" --to "127.0.0.1:${ports[$name]}" \
        --listen "127.0.0.1:$SINK" >&2

    mkdir -p "$WORK/new"
    rm -rf "$WORK/new/$name"
    mkdir -p "$WORK/new/$name"
    cp -r "$conf/waypost.yaml" "$conf/routes" "$conf/providers" "$WORK/new/$name/"
    routes other >"$WORK/new/$name/routes/all.yaml"
    sed 's/name: sink/name: other/' "$conf/providers/sink.yaml" >"$WORK/new/$name/providers/other.yaml"

    once() {
        local begin end
        begin=$(date +%s%N)
        "$BINARY" diff "$conf" "$WORK/new/$name" --replay 1d >"$WORK/told"
        end=$(date +%s%N)
        sed -n '/^of .* recipients/,$p' "$WORK/told" | head -3
        echo "addresses $addresses, the relay $1: $(((end - begin) / 1000000)) ms"
    }
    before=$(rss "${pids[$name]}")
    once running
    echo "the relay's memory: $before MiB before, $(rss "${pids[$name]}") MiB after"
    stop "${pids[$name]}"
    unset "pids[$name]"
    "$BINARY" trace --config "$conf" --verify | head -1
    once stopped
    ls -l "$conf/audit.redb" | awk '{ printf "the trail: %d MiB\n", $5 / 1048576 }'
done
