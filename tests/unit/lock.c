/* SPDX-License-Identifier: MIT
 *
 * lock.h: one thread at a time; a thread that waits sleeps and is woken; what the lock's word says meanwhile; the
 * thread that forks, for which locks count as taken; the others, which do not wait for it; and sections that a fork
 * interrupts.
 */
#include "lock.h"

#include "support/check.h"
#include "support/suite.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 4, ROUNDS = 50000, SLEEPERS = 8 };

static struct pm_lock lock, other_lock;
static long counter; /* guarded by `lock`, so that a second thread inside shows as a lost increment */
static atomic_int inside, passed;
static atomic_int begun, ids[SLEEPERS]; /* of the threads that pass through */

static unsigned
word_of(struct pm_lock *of)
{
    return atomic_load(&of->state);
}

static void
pause_ms(long milliseconds)
{
    nanosleep(&(struct timespec){0, milliseconds * 1000000}, NULL);
}

static pthread_t
start(void *(*function)(void *), void *argument)
{
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, function, argument) == 0, "no thread");
    return thread;
}

/* ---- Mutual exclusion ---- */

static void *
count_up(void *unused)
{
    (void)unused;
    for (int i = 0; i < ROUNDS; i++) {
        pm_lock_acquire(&lock);
        REQUIRE(atomic_fetch_add(&inside, 1) == 0, "two threads hold the lock");
        counter++;
        if (i % 1000 == 0)
            sched_yield(); /* so that others run into a held lock and sleep */
        atomic_fetch_sub(&inside, 1);
        pm_lock_release(&lock);
    }
    return NULL;
}

Test(lock, one_thread_at_a_time)
{
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        threads[i] = start(count_up, NULL);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    REQUIRE(counter == (long)THREADS * ROUNDS, "%ld increments", counter);
    REQUIRE(word_of(&lock) == 0, "the free lock's word is %u", word_of(&lock));
}

Test(lock, the_word_without_waiting)
{
    pm_lock_acquire(&lock);
    REQUIRE(word_of(&lock) == pm_lock_number() && word_of(&lock) != 0, "held: %u", word_of(&lock));
    pm_lock_release(&lock);
    REQUIRE(word_of(&lock) == 0, "free: %u", word_of(&lock));
    REQUIRE(pm_lock_acquire_slow(&lock, false), "refused");
    REQUIRE(word_of(&lock) == pm_lock_number(), "held by the slow path: %u", word_of(&lock));
    pm_lock_release(&lock);
    REQUIRE(pm_lock_acquire_unless_forking(&lock), "refused");
    REQUIRE(word_of(&lock) == pm_lock_number(), "held: %u", word_of(&lock));
    pm_lock_release(&lock);
    REQUIRE(word_of(&lock) == 0, "free: %u", word_of(&lock));
}

/* ---- Sleeping ---- */

static void *
pass_through(void *unused)
{
    (void)unused;
    atomic_store(&ids[atomic_fetch_add(&begun, 1)], (int)syscall(SYS_gettid));
    errno = 77;
    pm_lock_acquire(&lock);
    atomic_fetch_add(&passed, 1);
    pm_lock_release(&lock);
    REQUIRE(errno == 77, "errno became %d", errno);
    return NULL;
}

/* Whether the kernel says of the thread that it sleeps, and not that it runs or would like to. */
static bool
sleeps(pid_t thread)
{
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)thread);
    int file = open(path, O_RDONLY);
    REQUIRE(file >= 0, "no %s", path);
    ssize_t length = read(file, text, sizeof text - 1);
    close(file);
    REQUIRE(length > 0, "nothing in %s", path);
    text[length] = '\0';
    const char *end = strrchr(text, ')'); /* of the name */
    REQUIRE(end != NULL, "%s", text);
    return end[2] == 'S';
}

/* Waits until `count` threads that pass through sleep; on the lock, as its word says that somebody does. */
static void
await_sleepers(int count)
{
    for (int i = 0; i < count; i++)
        while (atomic_load(&ids[i]) == 0 || !sleeps(atomic_load(&ids[i])) || !(word_of(&lock) & PM_LOCK_SLEEPERS))
            pause_ms(1);
}

Test(lock, a_waiting_thread_sleeps_and_is_woken)
{
    pm_lock_acquire(&lock);
    pthread_t thread = start(pass_through, NULL);
    await_sleepers(1);
    REQUIRE(passed == 0, "it did not wait");
    pm_lock_release(&lock);
    pthread_join(thread, NULL);
    REQUIRE(passed == 1 && word_of(&lock) == 0, "%d passed, word %u", passed, word_of(&lock));
}

/* Each release wakes one: the one that wakes has to remember that there are more. */
Test(lock, every_sleeper_gets_its_turn)
{
    pthread_t threads[SLEEPERS];
    for (int round = 0; round < 20; round++) {
        pm_lock_acquire(&lock);
        atomic_store(&begun, 0);
        for (int i = 0; i < SLEEPERS; i++)
            atomic_store(&ids[i], 0);
        for (int i = 0; i < SLEEPERS; i++)
            threads[i] = start(pass_through, NULL);
        await_sleepers(SLEEPERS);
        pm_lock_release(&lock);
        for (int i = 0; i < SLEEPERS; i++)
            pthread_join(threads[i], NULL);
        REQUIRE(passed == SLEEPERS * (round + 1) && word_of(&lock) == 0, "%d passed, word %u", passed, word_of(&lock));
    }
}

/* ---- While a thread forks ---- */

static void *
during_a_fork(void *unused)
{
    (void)unused;
    REQUIRE(!pm_lock_forking(), "another thread counts as the forking one");
    pm_lock_acquire(&other_lock);
    REQUIRE(word_of(&other_lock) == pm_lock_number(), "word %u", word_of(&other_lock));
    pm_lock_release(&other_lock);
    REQUIRE(word_of(&other_lock) == 0, "another thread's release was ignored: word %u", word_of(&other_lock));
    return pass_through(NULL);
}

static void
begin_fork(void)
{
    pm_lock_fork_begin();
    REQUIRE(pm_lock_fork_take(&lock), "not taken");
}

static void
end_fork(void)
{
    REQUIRE(pm_lock_fork_end(), "an inner fork");
    pm_lock_fork_give(&lock);
}

Test(lock, the_forking_thread_passes_held_locks_and_others_wait)
{
    REQUIRE(!pm_lock_forking(), "forking before it began");
    begin_fork();
    REQUIRE(pm_lock_forking() && pm_lock_fork_has(&lock), "not forking");
    pthread_t thread = start(during_a_fork, NULL);
    await_sleepers(1);
    for (int i = 0; i < 3; i++) {
        pm_lock_acquire(&lock); /* would wait for itself */
        pm_lock_release(&lock);
        REQUIRE(pm_lock_acquire_unless_forking(&lock), "refused to the forking thread");
        pm_lock_release(&lock);
        REQUIRE(pm_lock_fork_has(&lock), "a handler's release let the lock go: word %u", word_of(&lock));
    }
    await_sleepers(1); /* it has looked again since */
    REQUIRE(passed == 0, "another thread passed a lock that the fork holds");
    end_fork();
    REQUIRE(!pm_lock_forking(), "forking after it ended");
    pthread_join(thread, NULL);
    REQUIRE(passed == 1 && word_of(&lock) == 0, "%d passed, word %u", passed, word_of(&lock));
}

/* Many times, and each fork anew. The first attempt waits, those after it fail at once. */
static void *
be_refused(void *unused)
{
    errno = 77;
    for (int i = 0; i < 10000; i++)
        REQUIRE(!pm_lock_acquire_unless_forking(&lock) && pm_lock_refuses(&lock), "attempt %d: not refused", i);
    REQUIRE(errno == 77, "errno became %d", errno);
    return unused;
}

Test(lock, nobody_has_to_wait_for_a_fork)
{
    for (int round = 0; round < 3; round++) {
        begin_fork();
        pthread_join(start(be_refused, NULL), NULL);
        end_fork();
        REQUIRE(!pm_lock_refuses(&lock) && pm_lock_acquire_unless_forking(&lock), "refused after the fork");
        pm_lock_release(&lock);
    }
}

/* It began to wait for the thread that had the lock before the fork. */
static void *
be_refused_in_the_end(void *unused)
{
    REQUIRE(!pm_lock_acquire_unless_forking(&lock), "not refused");
    return unused;
}

Test(lock, who_waits_already_need_not_wait_for_a_fork)
{
    pthread_t threads[SLEEPERS];
    pm_lock_acquire(&lock);
    for (int i = 0; i < SLEEPERS; i++)
        threads[i] = start(be_refused_in_the_end, NULL);
    while (!(word_of(&lock) & PM_LOCK_SLEEPERS))
        pause_ms(1);
    pm_lock_fork_begin();
    atomic_store(&lock.state, pm_lock_number() | PM_LOCK_FORK | PM_LOCK_SLEEPERS); /* nobody gets in between */
    for (int i = 0; i < SLEEPERS; i++)
        pthread_join(threads[i], NULL);
    end_fork();
}

/* ---- A fork in a signal handler ---- */

Test(lock, an_interrupted_section_keeps_its_lock)
{
    pm_lock_acquire(&lock);
    REQUIRE(!pm_lock_acquire_unless_forking(&lock) && pm_lock_refuses(&lock), "a handler got into the section");
    begin_fork();
    REQUIRE(!pm_lock_fork_has(&lock) && word_of(&lock) == pm_lock_number(), "word %u", word_of(&lock));
    REQUIRE(pm_lock_fork_take(&other_lock), "not taken");
    REQUIRE(!pm_lock_acquire_unless_forking(&lock), "a handler of the fork got into the section");
    REQUIRE(!pm_lock_acquire_unless_forking(&other_lock), "what the section needs may be half done");
    end_fork();
    REQUIRE(word_of(&lock) == pm_lock_number(), "the fork let the section's lock go");
    pm_lock_fork_give(&other_lock);
    pm_lock_release(&lock);
    REQUIRE(word_of(&lock) == 0 && word_of(&other_lock) == 0, "words %u, %u", word_of(&lock), word_of(&other_lock));
}

/* A handler forks while its thread is about to. */
Test(lock, forks_nest)
{
    begin_fork();
    pm_lock_fork_begin();
    REQUIRE(pm_lock_fork_take(&lock) && pm_lock_fork_take(&other_lock), "not taken");
    REQUIRE(!pm_lock_fork_end() && pm_lock_forking(), "the outer fork has ended");
    REQUIRE(pm_lock_fork_has(&lock) && pm_lock_fork_has(&other_lock), "the outer fork lost a lock");
    end_fork();
    pm_lock_fork_give(&other_lock);
    REQUIRE(word_of(&lock) == 0 && word_of(&other_lock) == 0, "words %u, %u", word_of(&lock), word_of(&other_lock));
}

static void *
take_both(void *unused)
{
    pm_lock_acquire(&lock);
    REQUIRE(!pm_lock_fork_take(&other_lock), "taken from another thread");
    pm_lock_release(&lock);
    return unused;
}

Test(lock, a_fork_does_not_wait_for_ever_for_one_lock)
{
    pm_lock_acquire(&other_lock);
    pthread_join(start(take_both, NULL), NULL);
    pm_lock_release(&other_lock);
    REQUIRE(word_of(&other_lock) == 0, "word %u", word_of(&other_lock));
}

/* ---- The child ---- */

static void
expect_child(pid_t child)
{
    int status;
    REQUIRE(waitpid(child, &status, 0) == child && status == 0, "status %x", status);
}

Test(lock, a_child_goes_on_as_the_forking_thread)
{
    begin_fork();
    pid_t child = fork();
    if (child == 0) {
        REQUIRE(pm_lock_forking() && pm_lock_fork_has(&lock), "not forking");
        end_fork();
        _exit(word_of(&lock) == 0 ? 0 : 1);
    }
    expect_child(child);
    end_fork();
}

Test(lock, an_interrupted_section_goes_on_in_the_child)
{
    pm_lock_acquire(&lock);
    pid_t child = fork();
    if (child == 0) {
        REQUIRE(pm_lock_refuses(&lock) && !pm_lock_fork_reclaim(&lock), "the section is another thread's");
        pm_lock_release(&lock);
        _exit(word_of(&lock) == 0 ? 0 : 1);
    }
    expect_child(child);
    pm_lock_release(&lock);
}

static void *
fork_while_another_holds(void *unused)
{
    pid_t child = fork();
    if (child == 0) {
        bool reclaimed = pm_lock_fork_reclaim(&lock), again = pm_lock_fork_reclaim(&lock);
        _exit(reclaimed && !again && word_of(&lock) == 0 ? 0 : 1);
    }
    expect_child(child);
    return unused;
}

Test(lock, a_child_reclaims_what_a_lost_thread_held)
{
    pm_lock_acquire(&lock);
    pthread_join(start(fork_while_another_holds, NULL), NULL);
    pm_lock_release(&lock);
}
