# What the bench scripts share: a folder on the disk, free ports, a tuned Postfix, a waypost. Sourced from the repository's
# root.
export PATH="$PATH:/usr/sbin:/sbin"

say() { printf '%s\n' "$*" >&2; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
# Resident memory of a process, in MiB.
rss() { awk '/^VmRSS/ { printf "%d", $2 / 1024 }' "/proc/$1/status"; }
median() { sort -n | awk '{ v[NR] = $1 } END { if (NR) print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

if [ -z "${BINARY:-}" ]; then
    cargo build --release --locked
    BINARY=$PWD/target/release/waypost
fi
if [ -z "${LOAD:-}" ]; then
    LOAD=$(cargo bench --locked --no-run --bench load 2>&1 | tee /dev/stderr | sed -n 's/.*Executable .*(\(.*\)).*/\1/p')
    LOAD=$PWD/$LOAD
fi

WORK=$(mktemp -d "${FOLDER:-$PWD/target}/bench.XXXXXX")
chmod 755 "$WORK"
declare -A pids ports

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
    for n in $(seq 3000); do
        if (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; then return; fi
        sleep 0.01
    done
    say "nothing listens on port $1"
    return 1
}

SINK=$(port)

# Relays side by side each have an admin server of their own. Empty for a binary that has none: ADMIN= benches/relay.sh.
ADMIN=${ADMIN-'admin: {address: "127.0.0.1:0"}'}

# A configuration: all mail to the sink. NAME [FURTHER KEYS OF THE QUEUE]
configure_waypost() {
    local name=$1 keys=${2:-} conf=$WORK/$1
    [ -n "${ports[$name]:-}" ] || ports[$name]=$(port)
    mkdir -p "$conf/routes" "$conf/providers"
    cat >"$conf/waypost.yaml" <<END
hostname: waypost.example
listeners:
  - {name: load, address: "127.0.0.1:${ports[$name]}"}
queue: {path: $conf/queue.redb$keys}
log: {format: json, level: ${LEVEL:-info}}
$ADMIN
END
    printf 'routes:\n  - {name: all, deliver: [sink]}\n' >"$conf/routes/all.yaml"
    printf 'providers:\n  - {name: sink, transport: smtp, host: 127.0.0.1, port: %s, tls: none, concurrency: 100%s}\n' "$SINK" "${SINK_KEYS:-}" \
        >"$conf/providers/sink.yaml"
}

# NAME BINARY [FURTHER KEYS OF THE QUEUE]
start_waypost() {
    local name=$1 binary=$2 conf=$WORK/$1
    configure_waypost "$name" "${3:-}"
    (cd "$conf" && exec "$binary" run --config "$conf") >>"$WORK/$name.log" 2>&1 &
    pids[$name]=$!
    wait_for_port "${ports[$name]}"
}

# Postfix with the limits of a busy relay: no DNS, no rate control, many processes, connections kept.
start_postfix() {
    local etc=$WORK/postfix/etc daemons
    ports[postfix]=$(port)
    mkdir -p "$etc" "$WORK/postfix/queue" "$WORK/postfix/data"
    as_root chown postfix "$WORK/postfix/data"
    cat >"$etc/main.cf" <<END
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
    cat >"$etc/master.cf" <<END
127.0.0.1:${ports[postfix]} inet n - n - - smtpd
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
    as_root postfix -c "$etc" check
    daemons=$(postconf -c "$etc" -h daemon_directory)
    # Replaces the subshell, so that its id is the one to end.
    (
        master=(env MAIL_CONFIG="$etc" "$daemons/master" -c "$etc" -d)
        if [ "$(id -u)" = 0 ]; then exec "${master[@]}"; else exec sudo "${master[@]}"; fi
    ) >"$WORK/postfix.log" 2>&1 &
    pids[postfix]=$!
    wait_for_port "${ports[postfix]}"
}
