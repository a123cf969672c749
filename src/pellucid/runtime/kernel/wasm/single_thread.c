/* `parallel_for` in a WebAssembly module: one thread, so there is nothing to lock either. */
#include "../kernel.h"

void lock_threads(void) {}
void unlock_threads(void) {}

void parallel_for(int threads, int64_t n_tasks, void (*task)(void *args, int64_t index, int thread), void *args) {
    (void)threads;
    for (int64_t index = 0; index < n_tasks; index++) task(args, index, 0);
}
