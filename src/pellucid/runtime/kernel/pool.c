/* Threads that wait for work by spinning a little, then asleep: a pass hands out work a hundred times, each a fraction of a
 * millisecond. Items go to whichever thread is free, so a thread on a busy core holds nobody up. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "kernel.h"

enum { SPINS = 20000, CLOSED = -1000000 };

static struct {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    int made, wanted; /* threads, the caller included */
    void (*work)(void *, int64_t, int);
    void *what;
    int64_t items;
    atomic_llong next;
    atomic_int round;
    atomic_int gate; /* helpers within; CLOSED added: none may enter. Who sleeps through a round is not waited for */
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER, .made = 1, .gate = CLOSED};

static void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void take_items(int thread) {
    for (;;) {
        const long long item = atomic_fetch_add(&pool.next, 1);
        if (item >= pool.items) return;
        pool.work(pool.what, item, thread);
    }
}

static int enter(void) {
    int within = atomic_load(&pool.gate);
    while (within >= 0)
        if (atomic_compare_exchange_weak(&pool.gate, &within, within + 1)) return 1;
    return 0;
}

static void *live(void *number) {
    const int thread = (int)(intptr_t)number;
    for (int seen = 0;; seen = atomic_load(&pool.round)) {
        for (int i = 0; i < SPINS && atomic_load(&pool.round) == seen; i++) relax();
        if (atomic_load(&pool.round) == seen) {
            pthread_mutex_lock(&pool.lock);
            while (atomic_load(&pool.round) == seen) pthread_cond_wait(&pool.wake, &pool.lock);
            pthread_mutex_unlock(&pool.lock);
        }
        if (!enter()) continue;
        if (thread < pool.wanted) take_items(thread);
        atomic_fetch_sub(&pool.gate, 1);
    }
    return NULL;
}

/* In a forked process, which has none of them: whoever held the lock, or waited, is not here. */
void forget_threads(void) {
    pool.lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    pool.wake = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
    pool.made = 1;
    atomic_store(&pool.round, 0);
    atomic_store(&pool.gate, CLOSED);
}

static void make_threads(int wanted) {
    while (pool.made < wanted) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, live, (void *)(intptr_t)pool.made)) return; /* fewer do it as well */
        pthread_detach(thread);
        pool.made++;
    }
}

/* Calls work(what, item, thread) for each item, on several threads; returns when all are done. One caller at a time (`pass.c`). */
void run_parallel(int threads, int64_t items, void (*work)(void *, int64_t, int), void *what) {
    if (threads > MOST_THREADS) threads = MOST_THREADS;
    if (threads > 1 && items > 1) make_threads(threads);
    if (threads < 2 || items < 2 || pool.made < 2) {
        for (int64_t item = 0; item < items; item++) work(what, item, 0);
        return;
    }
    pool.work = work, pool.what = what, pool.items = items, pool.wanted = threads;
    atomic_store(&pool.next, 0);
    atomic_store(&pool.gate, 0);
    pthread_mutex_lock(&pool.lock); /* so that nobody falls asleep between looking and waiting */
    atomic_fetch_add(&pool.round, 1);
    pthread_cond_broadcast(&pool.wake);
    pthread_mutex_unlock(&pool.lock);
    take_items(0);
    atomic_fetch_add(&pool.gate, CLOSED);
    while (atomic_load(&pool.gate) != CLOSED) relax();
}
