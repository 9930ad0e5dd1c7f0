#!/usr/bin/env bash
# Reloads under load: each names the one route anew and is asked for by `waypost reload`, three a second, while mail comes as
# fast as the relay takes it.
#
# Tells what was lost, doubled and refused, how long a reload takes, and for how long after its return mail was still taken by
# the table before it (of transactions whose RCPT came earlier), as the audit trail has it.
#
#   usage: benches/reload.sh [MESSAGES]        FOLDER, BINARY, LOAD: as in benches/relay.sh
set -euo pipefail
cd "$(dirname "$0")/.."
. benches/common.sh

MESSAGES=${1:-200000}
start_waypost waypost "$BINARY"
conf=$WORK/waypost
"$LOAD" --sessions 20 --size 4096 --messages "$MESSAGES" --to "127.0.0.1:${ports[waypost]}" --listen "127.0.0.1:$SINK" >"$WORK/told" &
load=$!
reloads=0
while kill -0 "$load" 2>/dev/null; do
    reloads=$((reloads + 1))
    printf 'routes:\n  - {name: r%s, deliver: [sink]}\n' "$reloads" >"$conf/routes/new"
    mv "$conf/routes/new" "$conf/routes/all.yaml"
    begun=$(date +%s%N)
    "$BINARY" --config "$conf" reload >>"$WORK/reloads" 2>&1 || { cat "$WORK/reloads"; exit 1; }
    ended=$(date +%s%N)
    echo "$reloads $((ended / 1000000)) $(((ended - begun) / 1000000))" >>"$WORK/times"
    sleep 0.3
done
wait "$load"
cat "$WORK/told"
"$BINARY" --config "$conf" trace --since 1h --event routed --json >"$WORK/routed"
python3 - "$WORK/times" "$WORK/routed" <<'END'
import json, statistics, sys
from datetime import datetime

times = [tuple(map(int, line.split())) for line in open(sys.argv[1])]
routed = [(event["route"], datetime.fromisoformat(event["at"].replace("Z", "+00:00")).timestamp() * 1000) for event in json.load(open(sys.argv[2]))]
last = {}
for route, at in routed:
    last[route] = max(last.get(route, 0), at)
names = ["all"] + [f"r{number}" for number, _, _ in times]
late = [last[names[number - 1]] - ended for number, ended, _ in times if names[number - 1] in last]
took = sorted(took for _, _, took in times)
print(f"{len(times)} reloads of {statistics.median(took):.0f} ms, {took[-1]} ms at most, the verb's start included; "
      f"{len(routed)} messages by {len(last)} tables; the last one of an older table {max(late):.0f} ms after the reload returned")
END
