/* SPDX-License-Identifier: MIT
 *
 * common.h: what every workload program shares: time, random numbers, sizes, options, checked contents, reporting and
 * the resident memory of the process.
 *
 * Nothing here allocates through malloc once the options are read: the arrays a workload needs for itself are mapped
 * (bench_array), lines are written with write(2), so that what is measured is the workload's own blocks.
 *
 * Results are lines `name value unit` on standard output; the runner reads them. `time` is the measured section. A line
 * whose name begins with `series:` is a point of a curve (x, y). `checksum` must be the same under every allocator.
 */
#ifndef BENCH_COMMON_H
#define BENCH_COMMON_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Failure ---------------------------------------------------------------------------------------------------- */

/* Writes one line "program: message" to standard error and exits with 1; bench_usage_error exits with 2. */
void bench_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
void bench_usage_error(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* ---- Time ------------------------------------------------------------------------------------------------------- */

/* Seconds of the monotonic clock. */
double bench_now(void);

/* ---- Random numbers: splitmix64 (Steele, Lea and Flood, 2014), the same sequence everywhere --------------------- */

struct bench_rng {
    uint64_t state;
};

static inline uint64_t bench_random(struct bench_rng *rng)
{
    uint64_t z = rng->state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* `bits` (32 of them random) scaled to 0..bound-1. */
static inline uint32_t bench_scale(uint32_t bits, uint32_t bound)
{
    return (uint32_t)(((uint64_t)bits * bound) >> 32);
}

static inline uint32_t bench_below(struct bench_rng *rng, uint32_t bound)
{
    return bench_scale((uint32_t)(bench_random(rng) >> 32), bound);
}

/* An independent generator for stream `index` (a thread, a phase) of `seed`. */
struct bench_rng bench_rng_stream(uint64_t seed, uint64_t index);

/* Puts `count` indices into random order. */
void bench_shuffle(uint32_t *indices, size_t count, struct bench_rng *rng);

/* ---- Sizes ------------------------------------------------------------------------------------------------------ */

enum { BENCH_SIZE_TABLE = 2048, BENCH_SIZE_MIN = 8, BENCH_SIZE_MAX = 1 << 20 };

/* A distribution of block sizes. Uniform ones are computed; all others are a table of quantiles, small enough (8 KiB)
 * to stay in the first-level cache, drawn from with 11 random bits. */
struct bench_sizes {
    uint32_t min, max;
    bool uniform;
    uint32_t table[BENCH_SIZE_TABLE];
};

/* Reads "40", "16-512" (uniform), "linear:16-8000" (falling off linearly to none at the maximum), "log:16-8000" (each
 * doubling as frequent as the next), "real" or "real:8-512" (the measured histogram of real_sizes.h, cut to a range),
 * "file:PATH" (lines "size count"). A bad text is a usage error. */
void bench_sizes_parse(struct bench_sizes *sizes, const char *text);

/* The size that 32 random bits stand for. */
static inline size_t bench_size_of(const struct bench_sizes *sizes, uint32_t bits)
{
    if (sizes->uniform)
        return sizes->min + bench_scale(bits, sizes->max - sizes->min + 1);
    return sizes->table[bits >> 21];
}

static inline size_t bench_size(const struct bench_sizes *sizes, struct bench_rng *rng)
{
    return bench_size_of(sizes, (uint32_t)(bench_random(rng) >> 32));
}

/* ---- Options ---------------------------------------------------------------------------------------------------- */

enum bench_option_kind { BENCH_COUNT, BENCH_SECONDS, BENCH_CHOICE, BENCH_SIZES, BENCH_FLAG };

/* One row per option; the target already holds the default.
 *   BENCH_COUNT    uint64_t, with k, M, G; between min and max
 *   BENCH_SECONDS  double
 *   BENCH_CHOICE   int, the index of the word in `words` ("lifo fifo random")
 *   BENCH_SIZES    struct bench_sizes; `words` is the default
 *   BENCH_FLAG     bool */
struct bench_option {
    const char *name;
    enum bench_option_kind kind;
    void *target;
    const char *help;
    uint64_t min, max;
    const char *words;
};

/* Reads the command line with the rows (ended by a row without a name), then reports which object serves malloc. */
void bench_start(int argc, char **argv, const char *purpose, const struct bench_option *options);

/* ---- Blocks ----------------------------------------------------------------------------------------------------- */

/* Keeps the compiler from knowing anything about the block, so that no malloc/free pair is optimised away. */
#define bench_escape(pointer) __asm__ volatile("" : "+r"(pointer) : : "memory")

/* malloc that does not return without a block. */
static inline void *bench_malloc(size_t size)
{
    void *block = malloc(size);
    bench_escape(block);
    if (__builtin_expect(block == NULL, 0))
        bench_fail("malloc(%zu) returned NULL", size);
    return block;
}

static inline void bench_free(void *block)
{
    bench_escape(block);
    free(block);
}

void bench_damaged(const void *block, size_t size, uint64_t want, uint64_t found) __attribute__((noreturn));

/* Marks a block of at least 8 bytes at both ends with `tag`; bench_check stops the program when they have changed: two
 * live blocks that overlap cannot both keep their marks. */
static inline void bench_mark(void *block, size_t size, uint64_t tag)
{
    unsigned char *bytes = (unsigned char *)block;
    bytes[size - 1] = (unsigned char)(tag >> 56);
    memcpy(bytes, &tag, sizeof tag);
}

static inline void bench_check(const void *block, size_t size, uint64_t tag)
{
    const unsigned char *bytes = (const unsigned char *)block;
    uint64_t found;
    memcpy(&found, bytes, sizeof found);
    if (__builtin_expect(found != tag || bytes[size - 1] != (unsigned char)(tag >> 56), 0))
        bench_damaged(block, size, tag, found);
}

/* `count` zeroed elements of `size` bytes from a mapping of their own, every page already touched. */
void *bench_array(size_t count, size_t size);

/* ---- Threads ---------------------------------------------------------------------------------------------------- */

/* Runs `body` in `count` threads over contexts of `size` bytes each and returns the seconds from the moment all of them
 * were ready until the last one was done. A single body runs in the calling thread, so that the process stays
 * single-threaded and allocators that know a faster way for such processes may take it. */
double bench_parallel(size_t count, void (*body)(void *context), void *contexts, size_t size);

/* A thread with a small stack, so that thousands are cheap; joined when `thread` is not NULL, else detached. */
void bench_thread(pthread_t *thread, void *(*body)(void *), void *context);

/* ---- Memory of this process ------------------------------------------------------------------------------------- */

/* Resident bytes now: exact, by walking the page tables (milliseconds for a large heap), or the kernel's running count,
 * which is cheap and may be some hundred KiB off. */
uint64_t bench_resident_exact(void);
uint64_t bench_resident_quick(void);

/* The page floor: the bytes of all 4 KiB pages that hold at least one byte of a live block. An allocator that does not
 * move blocks cannot hold less. A block of NULL is skipped. `sizes` holds the blocks' sizes. */
uint64_t bench_page_floor(void *const *blocks, const uint32_t *sizes, size_t count);

/* Asks the serving allocator to give back memory, as malloc_trim(0). */
void bench_trim(void);

/* ---- Reporting -------------------------------------------------------------------------------------------------- */

void bench_report(const char *name, double value, const char *unit);
void bench_report_count(const char *name, uint64_t value, const char *unit);
void bench_report_point(const char *series, double x, double y);

/* `time` in seconds and, when there were operations, `per_operation` in nanoseconds. */
void bench_report_time(double seconds, uint64_t operations);
void bench_report_checksum(uint64_t checksum);

#ifdef __cplusplus
}
#endif

#endif
