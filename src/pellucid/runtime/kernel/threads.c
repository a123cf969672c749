/* A thread pool: `parallel_for`.
 *
 * A forward pass calls it about a hundred times for a fraction of a millisecond each, so idle workers spin for a while before
 * they sleep. Tasks are taken from a shared counter, so a thread on a busy core delays nobody else. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "kernel.h"

enum { SPINS = 20000, CLOSED = -1000000 };

static struct {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    int created, wanted; /* threads that exist and that this job may use, the caller included */
    void (*task)(void *, int64_t, int);
    void *args;
    int64_t n_tasks;
    atomic_llong next;     /* index of the next task */
    atomic_int generation; /* number of jobs so far; workers wait for it to change */
    atomic_int active;     /* workers in the current job, plus CLOSED while none may join: late ones are not waited for */
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER, .created = 1, .active = CLOSED};

static void cpu_relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void run_tasks(int thread) {
    for (;;) {
        const long long index = atomic_fetch_add(&pool.next, 1);
        if (index >= pool.n_tasks) return;
        pool.task(pool.args, index, thread);
    }
}

/* Joins the current job unless it is closed. */
static int join_job(void) {
    int active = atomic_load(&pool.active);
    while (active >= 0)
        if (atomic_compare_exchange_weak(&pool.active, &active, active + 1)) return 1;
    return 0;
}

static void *worker(void *number) {
    const int thread = (int)(intptr_t)number;
    for (int seen = 0;; seen = atomic_load(&pool.generation)) {
        for (int i = 0; i < SPINS && atomic_load(&pool.generation) == seen; i++) cpu_relax();
        if (atomic_load(&pool.generation) == seen) {
            pthread_mutex_lock(&pool.lock);
            while (atomic_load(&pool.generation) == seen) pthread_cond_wait(&pool.wake, &pool.lock);
            pthread_mutex_unlock(&pool.lock);
        }
        if (!join_job()) continue;
        if (thread < pool.wanted) run_tasks(thread);
        atomic_fetch_sub(&pool.active, 1);
    }
    return NULL;
}

static pthread_mutex_t job_lock = PTHREAD_MUTEX_INITIALIZER;

void lock_threads(void) { pthread_mutex_lock(&job_lock); }
void unlock_threads(void) { pthread_mutex_unlock(&job_lock); }

/* A forked process has only the thread that forked: none of the workers, and nobody to release a lock that one of the others
 * held. If that was in a forward pass, it may have been about to replace the arena. */
static void after_fork_in_child(void) {
    if (pthread_mutex_trylock(&job_lock)) forget_arena();
    job_lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    pool.lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    pool.wake = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
    pool.created = 1;
    atomic_store(&pool.generation, 0);
    atomic_store(&pool.active, CLOSED);
}

__attribute__((constructor)) static void register_fork_handler(void) { pthread_atfork(NULL, NULL, after_fork_in_child); }

static void create_threads(int wanted) {
    while (pool.created < wanted) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, worker, (void *)(intptr_t)pool.created)) return; /* fewer threads do */
        pthread_detach(thread);
        pool.created++;
    }
}

/* Calls task(args, index, thread) for each index below n_tasks, on up to `threads` threads; returns when all are done. */
void parallel_for(int threads, int64_t n_tasks, void (*task)(void *args, int64_t index, int thread), void *args) {
    if (threads > MAX_THREADS) threads = MAX_THREADS;
    if (threads > 1 && n_tasks > 1) create_threads(threads);
    if (threads < 2 || n_tasks < 2 || pool.created < 2) {
        for (int64_t index = 0; index < n_tasks; index++) task(args, index, 0);
        return;
    }
    pool.task = task, pool.args = args, pool.n_tasks = n_tasks, pool.wanted = threads;
    atomic_store(&pool.next, 0);
    atomic_store(&pool.active, 0);
    pthread_mutex_lock(&pool.lock); /* else a worker could miss the wake-up between its check and its wait */
    atomic_fetch_add(&pool.generation, 1);
    pthread_cond_broadcast(&pool.wake);
    pthread_mutex_unlock(&pool.lock);
    run_tasks(0);
    atomic_fetch_add(&pool.active, CLOSED);
    while (atomic_load(&pool.active) != CLOSED) cpu_relax();
}
