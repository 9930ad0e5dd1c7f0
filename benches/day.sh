#!/usr/bin/env bash
# A day's traffic, as fast as it goes: memory after each tenth of it. Small and large mail, few sessions and many, and in each
# third tenth the next hop is down while mail comes in.
#
# Two million messages are a day of 23 a second. Ends with 1 where the last tenth has a fifth more than the fourth, whose mail
# is like it.
#
#   usage: benches/day.sh [MESSAGES]        FOLDER, BINARY, LOAD: as in benches/relay.sh
set -euo pipefail
cd "$(dirname "$0")/.."
. benches/common.sh

MESSAGES=${1:-2000000}
TENTH=$((MESSAGES / 10))

start_waypost waypost "$BINARY" ', retry: [5s]'
port=${ports[waypost]} pid=${pids[waypost]}
for part in $(seq 10); do
    case $((part % 3)) in
        0) load=(--sessions 20 --size 8192) ;;
        1) load=(--sessions 100 --size 4096) ;;
        *) load=(--sessions 10 --size 2048) ;;
    esac
    first=$(((part - 1) * TENTH))
    if [ $((part % 3)) = 0 ]; then
        # An outage: an eighth of it waits.
        "$LOAD" "${load[@]}" --to "127.0.0.1:$port" --messages $((TENTH / 8)) --first "$first" >/dev/null
        "$LOAD" --listen "127.0.0.1:$SINK" --messages $((TENTH / 8)) --first "$first" >"$WORK/part"
        grep -q ' missing=0 ' "$WORK/part" || { cat "$WORK/part"; exit 1; }
        first=$((first + TENTH / 8))
        messages=$((TENTH - TENTH / 8))
    else
        messages=$TENTH
    fi
    "$LOAD" "${load[@]}" --to "127.0.0.1:$port" --listen "127.0.0.1:$SINK" --messages "$messages" --first "$first" >"$WORK/part"
    grep -q ' missing=0 ' "$WORK/part" || { cat "$WORK/part"; exit 1; }
    now=$(rss "$pid")
    [ "$part" != 4 ] || early=$now
    echo "after $((part * TENTH)) messages: $now MiB, $(du -sm "$WORK/waypost" | cut -f 1) MiB on disk"
done
[ "$now" -le $((early + early / 5)) ] || { say "from $early to $now MiB: it grows"; exit 1; }
