/* A fingerprint of a model's parameters: whether they are still those that were packed.
 *
 * Each chunk of CHUNK bytes is reduced to LANES numbers of 32 bits: lane j takes word j of every LANES words. Its state is a
 * bijection of the word that it takes, and of its state before: a change of one word of a lane always changes the fingerprint,
 * and any other leaves it equal with a chance of 2^-32 for each lane that it touches. It is not meant against an attack. */
#include <stdlib.h>

#include "kernel.h"

enum { LANES = 64, VECTORS = 8, CHUNK = 1 << 19, LANE_BYTES = LANES * 4 };
typedef uint32_t word_vector __attribute__((vector_size(LANE_BYTES / VECTORS))); /* of any processor: the compiler divides it */

struct fingerprint_args {
    const char *const *data;
    const int64_t *bytes, *first_task;
    int64_t n_tensors;
    uint32_t *lanes;
};

static inline __attribute__((always_inline)) void take_words(word_vector *lanes, const char *words) {
#pragma GCC unroll 8
    for (int i = 0; i < VECTORS; i++) {
        word_vector word;
        memcpy(&word, words + i * sizeof word, sizeof word);
        const word_vector product = (lanes[i] ^ word) * 0x9E3779B1u;
        lanes[i] = product ^ product >> 15; /* or a word's highest bits, the sign, would stay in the highest, and two cancel */
    }
}

static void fingerprint_task(void *arguments, int64_t index, int thread) {
    const struct fingerprint_args *args = arguments;
    (void)thread;
    int64_t tensor = 0;
    while (index >= args->first_task[tensor + 1]) tensor++;
    const int64_t offset = (index - args->first_task[tensor]) * CHUNK, left = args->bytes[tensor] - offset;
    const int64_t bytes = left < CHUNK ? left : CHUNK;
    const char *data = args->data[tensor] + offset;
    word_vector lanes[VECTORS]; /* in registers: every index is a constant */
    for (int j = 0; j < LANES; j++) lanes[j / (LANES / VECTORS)][j % (LANES / VECTORS)] = j;
    int64_t i = 0;
    for (; i + LANE_BYTES <= bytes; i += LANE_BYTES) take_words(lanes, data + i);
    if (i < bytes) {
        char rest[LANE_BYTES] = {0};
        memcpy(rest, data + i, bytes - i);
        take_words(lanes, rest);
    }
    memcpy(args->lanes + index * LANES, lanes, sizeof lanes);
}

int pellucid_fingerprint(const void *const *data, const int64_t *bytes, int64_t n_tensors, uint32_t *lanes, int threads) {
    int64_t *first_task = malloc(sizeof(int64_t) * (n_tensors + 1));
    if (!first_task) return 1;
    first_task[0] = 0;
    for (int64_t i = 0; i < n_tensors; i++) first_task[i + 1] = first_task[i] + (bytes[i] + CHUNK - 1) / CHUNK;
    struct fingerprint_args args = {(const char *const *)data, bytes, first_task, n_tensors, lanes};
    lock_threads();
    parallel_for(threads, first_task[n_tensors], fingerprint_task, &args);
    unlock_threads();
    free(first_task);
    return 0;
}
