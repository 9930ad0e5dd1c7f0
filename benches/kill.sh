#!/usr/bin/env bash
# kill -9 at random moments under load: what was acknowledged arrives, and nothing comes twice but what a kill caught
# between its delivery and the record of it. Ends with 1 where that does not hold.
#
#   usage: benches/kill.sh [ROUNDS] [MESSAGES]        FOLDER, BINARY, LOAD: as in benches/relay.sh
set -euo pipefail
cd "$(dirname "$0")/.."
. benches/common.sh

ROUNDS=${1:-500}
MESSAGES=${2:-3000000}

configure_waypost waypost ', retry: [1s]'
cd "$WORK"
"$LOAD" --kills "$ROUNDS" --messages "$MESSAGES" --sessions 50 --size 2000 --to "127.0.0.1:${ports[waypost]}" \
    --listen "127.0.0.1:$SINK" -- "$BINARY" run --config "$WORK/waypost"
