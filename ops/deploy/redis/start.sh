#!/bin/sh
# Starts Redis or a Sentinel in a container, or asks one whether it is there.
#
# Both write into their configuration: after a failover it holds who the primary is now. So it
# is copied into the data folder once and belongs to them from then on. To change a setting
# later: CONFIG SET, then CONFIG REWRITE.
set -eu

# first NAME SECRET: the first configuration, unless there is one.
first() {
    [ -e "/data/$1" ] && return
    cat "/etc/redis/$1" "/run/secrets/$2" >"/data/$1.new"
    if [ -n "${REPLICA_OF:-}" ]; then echo "replicaof $REPLICA_OF" >>"/data/$1.new"; fi
    chmod 600 "/data/$1.new"
    mv "/data/$1.new" "/data/$1"
}

case $1 in
redis)
    first redis.conf redis.conf
    exec redis-server /data/redis.conf
    ;;
sentinel)
    first sentinel.conf sentinel.conf
    exec redis-server /data/sentinel.conf --sentinel
    ;;
ping)
    # A Sentinel has no password; Redis has, and a NOAUTH is an answer that shows life, but a
    # server that still loads its AOF must not pass for ready.
    password=$(sed -n 's/^requirepass //p' /run/secrets/redis.conf)
    [ "$2" = 26379 ] && password=
    [ "$(REDISCLI_AUTH=$password redis-cli -p "$2" ping)" = PONG ] || exit 1
    [ "$2" = 26379 ] && exit
    # Nor may a replica that does not follow yet, or a primary that takes nothing for want of
    # replicas (min-replicas-to-write).
    REDISCLI_AUTH=$password redis-cli -p "$2" info replication |
        grep -q -e '^master_link_status:up' -e '^min_slaves_good_slaves:[1-9]'
    ;;
*)
    echo "start.sh: $1: redis, sentinel or ping PORT" >&2
    exit 2
    ;;
esac
