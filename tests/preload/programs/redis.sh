# SPDX-License-Identifier: MIT
# redis-server under redis-benchmark, over a socket in the work directory. Debian links redis with jemalloc, so this is
# also the case of a program that names another malloc: the preloaded one has to come first, and jemalloc becomes the
# system allocator behind it.
#
# Two databases: the benchmark hammers number 0 with random keys; number 1 holds known data, checked after the benchmark,
# after a background save (a fork of the whole heap) and after a restart that loads it.
needs_program redis-server redis-server
needs_program redis-benchmark redis-tools
needs_program redis-cli redis-tools
# The server alone is preloaded. It holds far more blocks than this; libc's own use would not reach it.
min_blocks=50000

redis() {
    redis-cli -s redis.sock "$@"
}

start_server() {
    local attempt
    start_program redis-server --port 0 --unixsocket redis.sock --save '' --appendonly no --daemonize no \
        --io-threads 2 --io-threads-do-reads yes --lazyfree-lazy-user-del yes --logfile server.log
    for ((attempt = 0; attempt < 1200; attempt++)); do
        [[ $(redis ping 2>/dev/null) != PONG ]] || return 0
        kill -0 "$program_pid" 2>/dev/null || break
        sleep 0.1
    done
    cat server.log >&2
    return 1
}

# Also called on the way out of a failure, when the server may already be gone.
stop_server() {
    kill "$program_pid" 2>/dev/null || return 0
    wait "$program_pid"
}

# Objects of every type, as commands for `redis-cli --pipe`.
prepare() {
    awk 'BEGIN {
        for (i = 0; i < 6000; i++) {
            text = sprintf("%0" (i * 37 % 700 + 1) "d", i)
            print "SET string:" i " " text
            print "RPUSH list:" i % 200 " " text " " i
            print "SADD set:" i % 150 " member-" i * 7919 % 10007
            print "ZADD sorted:" i % 100 " " i * 31 % 5003 " member-" i
            print "HSET hash:" i % 300 " field-" i % 977 " " text
            if (i % 3 == 0) print "APPEND string:" i % 1000 " -" i
            if (i % 5 == 0) print "DEL string:" int(i / 2)
            if (i % 11 == 0) print "LPOP list:" i % 200
            if (i % 13 == 0) print "UNLINK hash:" i % 300
        }
    }' >commands
}

# Everything in database 1, in an order that does not depend on hash seeds.
checksum_known_data() {
    local type command
    redis -n 1 dbsize
    redis -n 1 --scan | sort >keys
    sha256sum <keys
    for type in string:get list:lrange set:smembers sorted:zrange hash:hgetall; do
        command=${type#*:}
        type=${type%:*}
        # Members of sets and fields of hashes come in the server's own order.
        sed -n "/^$type:/s/.*/$command &/p" keys |
            if [[ $command == *range ]]; then sed 's/$/ 0 -1/'; else cat; fi |
            redis -n 1 | if [[ $type == set || $type == hash ]]; then sort; else cat; fi | sha256sum
    done
    redis -n 1 strlen string:699
    redis -n 1 zscore sorted:17 member-17
    redis -n 1 eval "local n = 0; for i = 0, 199 do n = n + redis.call('llen', 'list:' .. i) end; return n" 0
}

run() {
    local line saved
    trap stop_server EXIT
    start_server
    prove_mapped "$program_pid"
    redis -n 1 --pipe <"$input/commands"
    checksum_known_data

    redis-benchmark -s redis.sock -q -n 8000 -c 20 -P 16 -r 4000 -d 100 \
        -t set,get,incr,lpush,rpush,lpop,rpop,sadd,hset,spop,zadd,zpopmin,lrange_100,mset >benchmark.log
    # Which random keys the benchmark hit is different every time; that it finished all its tests is not.
    tr '\r' '\n' <benchmark.log | grep -c 'requests per second'
    redis dbsize | awk '{ print ($1 > 4000 && $1 < 8100) ? "plausible" : "odd: " $1 }'
    redis flushdb async
    redis -n 1 get string:5999
    checksum_known_data

    redis bgsave
    for ((line = 0; line < 1200; line++)); do
        saved=$(redis info persistence | tr -d '\r' | grep -E '^rdb_(bgsave_in_progress:1|last_bgsave_status:)')
        [[ $saved == *progress* ]] || break
        sleep 0.1
    done
    echo "$saved"
    stop_server
    start_server
    checksum_known_data
    stop_server
    trap - EXIT
}
