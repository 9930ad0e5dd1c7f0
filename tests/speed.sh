#!/usr/bin/env bash
# Waypost against a tuned Postfix relay: the same load, the same sink, the same disk, in turns, in one run.
#
#   smtp-source (4 KiB messages, 100 sessions) --> relay --> smtp-sink
#
# Prints messages a second from the first submission until the sink has the last message, and the ratio of the medians.
# Needs Debian's postfix package (tests/run installs it) and root or sudo, for Postfix's master.
#
#   usage: tests/speed.sh [MESSAGES] [ROUNDS]       FOLDER=/on/the/disk tests/speed.sh
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PATH:/usr/sbin:/sbin"

MESSAGES=${1:-20000}
ROUNDS=${2:-3}
SESSIONS=100
SIZE=4096

say() { printf '%s\n' "$*" >&2; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

if [ -z "${BINARY:-}" ]; then
    cargo build --release --locked
    BINARY=$PWD/target/release/waypost
fi
# Beside the build: /tmp is memory on many machines, and memory is no disk.
WORK=$(mktemp -d "${FOLDER:-$PWD/target}/speed.XXXXXX")
chmod 755 "$WORK"
pids=()

stop() {
    as_root kill "$1" 2>/dev/null || return 0
    while as_root kill -0 "$1" 2>/dev/null; do sleep 0.05; done
}

cleanup() {
    local pid
    for pid in "${pids[@]}"; do stop "$pid"; done
    as_root rm -rf "$WORK"
}
trap cleanup EXIT

# A port that nobody listens on, below those that the system gives away by itself.
port() {
    local port
    while :; do
        port=$((10000 + RANDOM % 20000))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
    done
    echo "$port"
}

wait_for_port() {
    local n
    for n in $(seq 300); do
        if (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; then return; fi
        sleep 0.1
    done
    say "nothing listens on port $1"
    return 1
}

SINK=$(port)
POSTFIX=$(port)
WAYPOST=$(port)

# --- Postfix, with the limits of a busy relay: no DNS, no rate control, many processes, connections kept.
ETC=$WORK/postfix/etc
mkdir -p "$ETC" "$WORK/postfix/queue" "$WORK/postfix/data"
as_root chown postfix "$WORK/postfix/data"
cat >"$ETC/main.cf" <<END
compatibility_level = 3.6
queue_directory = $WORK/postfix/queue
data_directory = $WORK/postfix/data
myhostname = postfix.example
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mydestination =
alias_maps =
local_recipient_maps =
relayhost = [127.0.0.1]:$SINK
disable_dns_lookups = yes
smtp_host_lookup = native
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtpd_client_message_rate_limit = 0
smtpd_error_sleep_time = 0
smtpd_helo_restrictions =
smtpd_sender_restrictions =
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_recipient_restrictions = permit_mynetworks, reject
local_header_rewrite_clients =
default_process_limit = 400
in_flow_delay = 0
qmgr_message_active_limit = 100000
qmgr_message_recipient_limit = 100000
default_destination_concurrency_limit = 200
initial_destination_concurrency = 200
default_destination_concurrency_failed_cohort_limit = 1000
smtp_connection_cache_on_demand = yes
smtp_connection_cache_destinations = [127.0.0.1]:$SINK
smtp_connection_reuse_time_limit = 300s
smtp_tls_security_level = none
enable_long_queue_ids = yes
header_checks =
END
cat >"$ETC/master.cf" <<END
127.0.0.1:$POSTFIX inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
END
as_root postfix -c "$ETC" check
DAEMONS=$(postconf -c "$ETC" -h daemon_directory)

# --- Waypost.
CONF=$WORK/waypost
mkdir -p "$CONF/routes" "$CONF/providers"
cat >"$CONF/waypost.yaml" <<END
hostname: waypost.example
listeners:
  - {name: load, address: "127.0.0.1:$WAYPOST"}
queue: {path: $CONF/queue.redb}
log: {format: json, level: ${LEVEL:-info}}
END
printf 'routes:\n  - {name: all, deliver: [sink]}\n' >"$CONF/routes/all.yaml"
printf 'providers:\n  - {name: sink, transport: smtp, host: 127.0.0.1, port: %s, tls: none, concurrency: 100}\n' "$SINK" \
    >"$CONF/providers/sink.yaml"

start_postfix() {
    # Replaces the subshell, so that its id is the one to end.
    (
        master=(env MAIL_CONFIG="$ETC" "$DAEMONS/master" -c "$ETC" -d)
        if [ "$(id -u)" = 0 ]; then exec "${master[@]}"; else exec sudo "${master[@]}"; fi
    ) >"$WORK/postfix.log" 2>&1 &
    pids+=($!)
    wait_for_port "$POSTFIX"
}

start_waypost() {
    (cd "$CONF" && exec "$BINARY" run --config "$CONF") >>"$WORK/waypost.log" 2>&1 &
    pids+=($!)
    wait_for_port "$WAYPOST"
}

arrived() { tr '\r' '\n' <"$WORK/sink.log" | sed -n 's/.*mesg=\([0-9]*\).*/\1/p' | tail -n 1; }

# Sends the load to a port, and prints messages a second until the sink has them all.
measure() {
    local sink_user=() start end count waited=0
    [ "$(id -u)" != 0 ] || sink_user=(-u nobody)
    : >"$WORK/sink.log"
    smtp-sink "${sink_user[@]}" -c "127.0.0.1:$SINK" 1000 >"$WORK/sink.log" 2>"$WORK/sink.err" &
    local sink=$!
    pids+=("$sink")
    wait_for_port "$SINK"
    start=$(date +%s.%N)
    smtp-source -d -s "$SESSIONS" -m "$MESSAGES" -l "$SIZE" -f load@sender.example -t sink@recipient.example "127.0.0.1:$1" \
        >/dev/null
    local accepted
    accepted=$(date +%s.%N)
    while count=$(arrived) && [ "${count:-0}" -lt "$MESSAGES" ]; do
        sleep 0.02
        waited=$((waited + 1))
        if [ "$waited" -gt 15000 ]; then
            say "only ${count:-0} of $MESSAGES messages arrived"
            return 1
        fi
    done
    end=$(date +%s.%N)
    kill "$sink"
    wait "$sink" 2>/dev/null || true
    awk -v n="$MESSAGES" -v s="$start" -v a="$accepted" -v e="$end" \
        'BEGIN { printf "%.0f %.0f\n", n / (e - s), n / (a - s) }'
}

median() { sort -n | awk '{ v[NR] = $1 } END { print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

start_postfix
start_waypost
say "$MESSAGES messages of $SIZE octets, $SESSIONS sessions, $ROUNDS rounds; $(nproc) processors; $(df --output=source "$WORK" | tail -n 1)"
for round in $(seq "$ROUNDS"); do
    for relay in postfix waypost; do
        port=$POSTFIX
        [ "$relay" = postfix ] || port=$WAYPOST
        result=$(measure "$port")
        read -r whole taken <<<"$result"
        say "round $round: $relay $whole a second end to end (accepted $taken a second)"
        echo "$whole" >>"$WORK/$relay.rates"
    done
done
postfix=$(median <"$WORK/postfix.rates")
waypost=$(median <"$WORK/waypost.rates")
echo "median end to end: postfix $postfix, waypost $waypost messages a second"
awk -v p="$postfix" -v w="$waypost" 'BEGIN { printf "ratio waypost / postfix: %.2f\n", w / p }'
