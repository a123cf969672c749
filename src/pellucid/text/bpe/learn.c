/* Training byte-pair encoding: learn.py in C, with its names. n bytes of words take O(n log n) time and some 60 n bytes.
 *
 * N: bytes of all distinct words, with a BORDER before and after each word. A token's position is that of its first byte. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { BORDER = -1, JOINED = -2, BYTES = 256 };

struct pair {
    int32_t left, right;
    int64_t count;
    int32_t group; /* the last of this pair, or -1 */
    int32_t merge; /* number of the merge that made that group */
};
struct group {
    int32_t pair, before;       /* before: the pair's group before this one, or -1 */
    int32_t first, last, count; /* of its positions, a list */
};
struct position {
    int32_t at, next; /* next: in the same group, or -1 */
};
struct queued {
    int64_t count; /* the pair's, when it was queued */
    int32_t left, right, group;
};
struct byte {
    int32_t token; /* that starts here, or BORDER, or JOINED */
    int32_t start; /* where it is the last byte of a token: the position of that */
    int32_t pair;  /* of the token that starts here and the next one; -1: they are too long together */
    int32_t word;
};

struct pellucid_bpe {
    const int64_t *word_counts; /* (words,) */
    int64_t n, n_words, n_counted; /* n_counted: of the positions, whose pairs are counted */
    int32_t max_token_length, min_frequency, n_tokens, vocab_size, merge;
    int last; /* whether the rare ones are in the queue */
    struct byte *at;    /* (N,) */
    uint8_t *bytes;     /* (N,) the tokens before anything was joined */
    int32_t *word_group; /* (words,) the last group that named it */
    int32_t *token_length, *token_position, *token_left, *token_right; /* (tokens,) */
    int32_t *token_slots, *pair_slots;                              /* hash tables of numbers + 1; 0 is free */
    int64_t n_token_slots, n_pair_slots;                            /* powers of 2 */
    struct pair *pairs;
    struct group *groups;
    struct position *positions;
    struct queued *queue; /* a heap */
    struct queued *rare;  /* a list: pairs of too small a count, looked at when the queue is empty */
    int32_t *found;       /* result of `positions_of` */
    int64_t n_pairs, n_groups, n_positions, n_queue, n_rare, n_found;
    int64_t room_pairs, room_groups, room_positions, room_queue, room_rare, room_found;
};

/* Makes room for `count` elements; 0 if there is no memory. */
static int reserve(void *array, int64_t *room, int64_t count, size_t size) {
    if (count <= *room) return 1;
    if (count > INT32_MAX) return 0;
    const int64_t more = count + count / 2;
    void *grown = realloc(*(void **)array, more * size);
    if (!grown) return 0;
    *(void **)array = grown, *room = more;
    return 1;
}

static uint64_t mixed(uint64_t x) {
    x = (x ^ x >> 32) * 0x9E3779B97F4A7C15u;
    return x ^ x >> 29;
}

static struct pair *find_pair(struct pellucid_bpe *s, int32_t left, int32_t right, int64_t *slot) {
    for (*slot = mixed((uint64_t)left << 32 | (uint32_t)right) & (s->n_pair_slots - 1); s->pair_slots[*slot];
         *slot = (*slot + 1) & (s->n_pair_slots - 1)) {
        struct pair *pair = s->pairs + s->pair_slots[*slot] - 1;
        if (pair->left == left && pair->right == right) return pair;
    }
    return NULL;
}

/* Makes room for `count` positions more, of as many new pairs. */
static int reserve_positions(struct pellucid_bpe *s, int64_t count) {
    if (!reserve(&s->positions, &s->room_positions, s->n_positions + count, sizeof *s->positions)) return 0;
    if (!reserve(&s->groups, &s->room_groups, s->n_groups + count, sizeof *s->groups)) return 0;
    const int64_t queued = s->n_queue + s->n_rare + count; /* which may move from one to the other */
    if (!reserve(&s->queue, &s->room_queue, queued, sizeof *s->queue)) return 0;
    if (!reserve(&s->rare, &s->room_rare, queued, sizeof *s->rare)) return 0;
    if (!reserve(&s->pairs, &s->room_pairs, s->n_pairs + count, sizeof *s->pairs)) return 0;
    if (2 * (s->n_pairs + count) <= s->n_pair_slots) return 1;
    int64_t slots = s->n_pair_slots;
    while (slots < 3 * (s->n_pairs + count)) slots *= 2;
    int32_t *table = calloc(slots, sizeof *table);
    if (!table) return 0;
    free(s->pair_slots);
    s->pair_slots = table, s->n_pair_slots = slots;
    for (int64_t i = 0, slot; i < s->n_pairs; i++) {
        find_pair(s, s->pairs[i].left, s->pairs[i].right, &slot);
        table[slot] = i + 1;
    }
    return 1;
}

/* Counts a pair at a position, which is added to the pair's group of this merge. */
static void add(struct pellucid_bpe *s, int32_t left, int32_t right, int32_t at, int64_t count) {
    int64_t slot;
    struct pair *pair = find_pair(s, left, right, &slot);
    if (!pair) {
        pair = s->pairs + s->n_pairs++;
        *pair = (struct pair){left, right, 0, -1, -1};
        s->pair_slots[slot] = s->n_pairs;
    }
    pair->count += count;
    if (pair->merge != s->merge) {
        s->groups[s->n_groups] = (struct group){pair - s->pairs, pair->group, -1, -1, 0};
        pair->group = s->n_groups++, pair->merge = s->merge;
    }
    s->at[at].pair = pair - s->pairs;
    struct group *group = s->groups + pair->group;
    s->positions[s->n_positions] = (struct position){at, -1};
    if (group->count++) s->positions[group->last].next = s->n_positions;
    else group->first = s->n_positions;
    group->last = s->n_positions++;
}

/* Takes the pair at a position away. */
static void take(struct pellucid_bpe *s, int32_t at, int64_t count) {
    if (s->at[at].pair >= 0) s->pairs[s->at[at].pair].count -= count;
    s->at[at].pair = -1;
}

static int sooner(const struct queued *a, const struct queued *b) {
    if (a->count != b->count) return a->count > b->count;
    if (a->left != b->left) return a->left < b->left;
    return a->right != b->right ? a->right < b->right : a->group < b->group;
}

static void push(struct pellucid_bpe *s, struct queued item) {
    if (item.count < s->min_frequency && !s->last) {
        s->rare[s->n_rare++] = item;
        return;
    }
    int64_t i = s->n_queue++;
    for (; i && sooner(&item, s->queue + (i - 1) / 2); i = (i - 1) / 2) s->queue[i] = s->queue[(i - 1) / 2];
    s->queue[i] = item;
}

static struct queued pop(struct pellucid_bpe *s) {
    const struct queued top = s->queue[0], item = s->queue[--s->n_queue];
    int64_t i = 0;
    for (int64_t child; (child = 2 * i + 1) < s->n_queue; i = child) {
        if (child + 1 < s->n_queue && sooner(s->queue + child + 1, s->queue + child)) child++;
        if (!sooner(s->queue + child, &item)) break;
        s->queue[i] = s->queue[child];
    }
    s->queue[i] = item;
    return top;
}

/* Queues the pairs that a merge has made. */
static void push_new(struct pellucid_bpe *s, int64_t first_group) {
    for (int64_t i = first_group; i < s->n_groups; i++) {
        const struct pair *pair = s->pairs + s->groups[i].pair;
        if (pair->count > 0) push(s, (struct queued){pair->count, pair->left, pair->right, i});
    }
}

static int ascending(const void *a, const void *b) {
    const int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

/* Collects in `found` the positions of a pair in every word that its group names, ascending; 0 if there is no memory. */
static int positions_of(struct pellucid_bpe *s, const struct pair *pair, int32_t group) {
    int64_t count = 0;
    for (int32_t t = pair->group; t >= 0; t = s->groups[t].before) count += s->groups[t].count;
    if (!reserve(&s->found, &s->room_found, count, sizeof *s->found)) return 0;
    s->n_found = 0;
    const int only = pair->group == group && s->groups[group].before < 0;
    for (int32_t p = s->groups[group].first; p >= 0; p = s->positions[p].next) {
        s->word_group[s->at[s->positions[p].at].word] = group;
        if (only) s->found[s->n_found++] = s->positions[p].at;
    }
    if (only) return 1;
    for (int32_t t = pair->group; t >= 0; t = s->groups[t].before)
        for (int32_t p = s->groups[t].first; p >= 0; p = s->positions[p].next)
            if (s->word_group[s->at[s->positions[p].at].word] == group) s->found[s->n_found++] = s->positions[p].at;
    qsort(s->found, s->n_found, sizeof *s->found, ascending);
    return 1;
}

/* The token of a pair at a position: a new one, or one that another pair has made. */
static int32_t token_of(struct pellucid_bpe *s, int32_t left, int32_t right, int32_t position) {
    const int32_t length = s->token_length[left] + s->token_length[right];
    uint64_t hash = length;
    for (int32_t i = 0; i < length; i++) hash = (hash ^ s->bytes[position + i]) * 0x100000001B3u;
    int64_t slot = mixed(hash) & (s->n_token_slots - 1);
    for (; s->token_slots[slot]; slot = (slot + 1) & (s->n_token_slots - 1)) {
        const int32_t token = s->token_slots[slot] - 1;
        if (s->token_length[token] != length) continue;
        if (!memcmp(s->bytes + s->token_position[token], s->bytes + position, length)) return token;
    }
    s->token_slots[slot] = s->n_tokens + 1;
    s->token_length[s->n_tokens] = length, s->token_position[s->n_tokens] = position;
    s->token_left[s->n_tokens] = left, s->token_right[s->n_tokens] = right;
    return s->n_tokens++;
}

static int merge(struct pellucid_bpe *s, int32_t left, int32_t right, int32_t group) {
    int64_t slot;
    const struct pair *pair = find_pair(s, left, right, &slot);
    if (!positions_of(s, pair, group) || !reserve_positions(s, 2 * s->n_found)) return 0;
    s->merge++;
    const int64_t first_group = s->n_groups;
    const int32_t to_right = s->token_length[left], length = to_right + s->token_length[right];
    int32_t token = -1;
    for (int64_t i = 0; i < s->n_found; i++) {
        const int32_t position = s->found[i], middle = position + to_right, end = position + length;
        if (s->at[position].token != left || s->at[middle].token != right) continue; /* joined with something else meanwhile */
        if (token < 0) token = token_of(s, left, right, position);
        const int64_t count = s->word_counts[s->at[position].word];
        s->at[position].token = token, s->at[middle].token = JOINED, s->at[end - 1].start = position;
        s->at[position].pair = -1;
        if (s->at[position - 1].token != BORDER) {
            const int32_t before = s->at[position - 1].start, other = s->at[before].token;
            take(s, before, count);
            if (s->token_length[other] + length <= s->max_token_length) add(s, other, token, before, count);
        }
        if (s->at[end].token != BORDER) {
            const int32_t other = s->at[end].token;
            take(s, middle, count);
            if (s->token_length[other] + length <= s->max_token_length) add(s, token, other, position, count);
        }
    }
    push_new(s, first_group);
    return 1;
}

void pellucid_bpe_close(struct pellucid_bpe *s) {
    if (!s) return;
    void *owned[] = {s->at, s->bytes, s->word_group, s->token_length, s->token_slots, s->pair_slots, s->pairs, s->groups,
                     s->positions, s->queue, s->rare, s->found};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) free(owned[i]);
    free(s);
}

/* The state of training on words; NULL if there is no memory.
 *
 * ids: (n,) of the words' bytes as tokens, one word after another. lengths, counts: (n_words,) of the words; counts are kept. */
struct pellucid_bpe *pellucid_bpe_open(
    const uint8_t *ids, const int64_t *lengths, const int64_t *counts, int64_t n_words, int64_t n, int64_t vocab_size,
    int64_t max_token_length, int64_t min_frequency) {
    struct pellucid_bpe *s = calloc(1, sizeof *s);
    if (!s) return NULL;
    s->n = n + n_words + 1, s->n_words = n_words, s->word_counts = counts;
    s->max_token_length = max_token_length, s->min_frequency = min_frequency, s->n_tokens = BYTES, s->vocab_size = vocab_size;
    s->n_pair_slots = 1 << 12;
    for (s->n_token_slots = 1 << 10; s->n_token_slots < 2 * vocab_size;) s->n_token_slots *= 2;
    s->at = malloc(s->n * sizeof *s->at);
    s->bytes = calloc(s->n, 1);
    s->word_group = malloc((n_words + 1) * sizeof *s->word_group);
    s->token_length = malloc(4 * vocab_size * sizeof *s->token_length);
    s->token_slots = calloc(s->n_token_slots, sizeof *s->token_slots);
    s->pair_slots = calloc(s->n_pair_slots, sizeof *s->pair_slots);
    if (s->n > INT32_MAX / 4 || !s->at || !s->bytes || !s->word_group || !s->token_length || !s->token_slots ||
        !s->pair_slots) {
        pellucid_bpe_close(s);
        return NULL;
    }
    s->token_position = s->token_length + vocab_size;
    s->token_left = s->token_position + vocab_size, s->token_right = s->token_left + vocab_size;
    for (int32_t i = 0; i < BYTES; i++) s->token_length[i] = 1;
    int64_t position = 0;
    s->at[position++].token = BORDER;
    for (int64_t w = 0; w < n_words; w++) {
        s->word_group[w] = -1;
        for (int64_t i = 0; i < lengths[w]; i++, position++) {
            s->bytes[position] = *ids++;
            s->at[position] = (struct byte){s->bytes[position], position, -1, w};
        }
        s->at[position++].token = BORDER;
    }
    return s;
}

/* Counts the pairs of all words; 0 if there is no memory. At most `work` positions; `work` is reduced by their number. */
static int count_pairs(struct pellucid_bpe *s, int64_t *work) {
    for (; s->n_counted < s->n - 1 && *work > 0; s->n_counted++, --*work) {
        const struct byte *here = s->at + s->n_counted;
        if (here[0].token == BORDER || here[1].token == BORDER) continue;
        if (!reserve_positions(s, 1)) return 0;
        add(s, here[0].token, here[1].token, s->n_counted, s->word_counts[here->word]);
    }
    if (s->n_counted < s->n - 1 || s->merge) return 1;
    if (!reserve_positions(s, s->n_groups)) return 0;
    s->merge = 1;
    push_new(s, 0);
    return 1;
}

/* Counts and merges until about `work` positions were looked at. Returns the number of tokens, or -1 if there is no memory.
 *
 * finished: set where there are as many tokens as wanted, or no pair is frequent enough.
 * left, right: (vocab_size,) are filled with the pair of each token from 256 on. */
int64_t pellucid_bpe_learn(struct pellucid_bpe *s, int64_t work, int32_t *left, int32_t *right, int32_t *finished) {
    if (!count_pairs(s, &work)) return -1;
    *finished = s->merge > 0;
    while (*finished && s->n_tokens < s->vocab_size) {
        if (work-- < 0) {
            *finished = 0;
            break;
        }
        if (!s->n_queue && !s->last) {
            s->last = 1;
            while (s->n_rare) push(s, s->rare[--s->n_rare]);
        }
        if (!s->n_queue) break;
        struct queued top = pop(s);
        int64_t slot;
        const int64_t count = find_pair(s, top.left, top.right, &slot)->count;
        if (top.count != count) {
            top.count = count;
            push(s, top);
        } else if (count < s->min_frequency) {
            break;
        } else {
            if (!merge(s, top.left, top.right, top.group)) return -1;
            work -= s->n_found;
        }
    }
    memcpy(left, s->token_left, s->n_tokens * sizeof *left);
    memcpy(right, s->token_right, s->n_tokens * sizeof *right);
    return s->n_tokens;
}
