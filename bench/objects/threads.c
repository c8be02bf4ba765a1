/* SPDX-License-Identifier: MIT
 *
 * Two threads: each with a heap of its own, or both counting the same object. `speedup` is how much more two threads do
 * than one in the same elapsed time, which other processes on the machine disturb; `speedup-cpu` takes the threads' own
 * processor time, in which only caches, memory and locks that spin are seen. */
#include "peer.h"

#include <pthread.h>

uint64_t trees_work(int depth);

static pthread_barrier_t begin;
static uint64_t work_size;
static double spent[2];

static void *own(void *which)
{
    peer_start(0);
    pthread_barrier_wait(&begin);
    double start = bench_clock(CLOCK_THREAD_CPUTIME_ID);
    trees_work((int)work_size);
    spent[(size_t)which] = bench_clock(CLOCK_THREAD_CPUTIME_ID) - start;
    peer_end();
    return NULL;
}

#if !defined(PEER_BOEHM)
static void *volatile common;

static void *counting(void *which)
{
    void *object = common;
    pthread_barrier_wait(&begin);
    double start = bench_clock(CLOCK_THREAD_CPUTIME_ID);
    for (uint64_t i = 0; i < work_size; i++) {
#if defined(PEER_POOLOBJECT)
        ESCAPE(po_incref(object));
        po_decref(object);
#elif defined(PEER_INTRUSIVE)
        __atomic_fetch_add((uint64_t *)object - 1, 1, __ATOMIC_RELAXED);
        __atomic_fetch_sub((uint64_t *)object - 1, 1, __ATOMIC_ACQ_REL);
#elif defined(PEER_GLIB)
        ESCAPE(g_atomic_rc_box_acquire(object));
        g_atomic_rc_box_release(object);
#endif
        BARRIER();
    }
    spent[(size_t)which] = bench_clock(CLOCK_THREAD_CPUTIME_ID) - start;
    return NULL;
}
#endif

/* Elapsed seconds of `count` threads at `run`. */
static double together(size_t count, void *(*run)(void *))
{
    pthread_t threads[2];
    pthread_barrier_init(&begin, NULL, (unsigned)count);
    double start = bench_clock(CLOCK_MONOTONIC);
    for (size_t i = 0; i < count; i++)
        if (pthread_create(&threads[i], NULL, run, (void *)i) != 0)
            abort();
    for (size_t i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    double elapsed = bench_clock(CLOCK_MONOTONIC) - start;
    pthread_barrier_destroy(&begin);
    return elapsed;
}

static void compare(uint64_t size, void *(*run)(void *))
{
    work_size = size;
    double alone = together(1, run), alone_cpu = spent[0];
    double both = together(2, run), both_cpu = (spent[0] + spent[1]) / 2;
    printf("speedup %.4f times\nspeedup-cpu %.4f times\n", 2 * alone / both, 2 * alone_cpu / both_cpu);
}

static void threads_own(uint64_t depth, uint64_t unused)
{
    (void)unused;
    compare(depth, own);
}

#if !defined(PEER_BOEHM)
static void threads_shared(uint64_t size, uint64_t unused)
{
    (void)unused;
    peer_start(0);
#if defined(PEER_GLIB)
    common = g_atomic_rc_box_alloc0(sizeof(struct leaf));
#else
    common = NEW(leaf);
#endif
#if defined(PEER_POOLOBJECT)
    if (!po_share(common))
        abort();
#endif
    work_size = size;
    together(2, counting);
    bench_each("each", (spent[0] + spent[1]) / 2, (double)size);
#if defined(PEER_GLIB)
    g_atomic_rc_box_release(common);
#else
    RELEASE(leaf, common);
#endif
    peer_end();
}
#endif

const struct bench_entry threads_cases[] = {
    {"threads-own", threads_own},
#if !defined(PEER_BOEHM)
    {"threads-shared", threads_shared},
#endif
    {NULL, NULL},
};
