#include "crc32c.h"

#include <pthread.h>
#include <string.h>

static uint32_t table[256];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void make_table(void) {
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t state = byte;
        for (int bit = 0; bit < 8; bit++) state = state >> 1 ^ (state & 1 ? 0x82F63B78 : 0);
        table[byte] = state;
    }
}

uint32_t crc32c_update_by_table(uint32_t state, const void *bytes, size_t length) {
    pthread_once(&once, make_table);
    const uint8_t *next = bytes;
    while (length-- > 0) state = state >> 8 ^ table[(state ^ *next++) & 0xFF];
    return state;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t update(uint32_t state, const void *bytes,
                                                         size_t length) {
    const uint8_t *next = bytes;
    uint64_t wide = state;
    for (; length >= 8; length -= 8, next += 8) {
        uint64_t word;
        memcpy(&word, next, 8);
        wide = __builtin_ia32_crc32di(wide, word);
    }
    state = (uint32_t)wide;
    while (length-- > 0) state = __builtin_ia32_crc32qi(state, *next++);
    return state;
}

uint32_t crc32c_update(uint32_t state, const void *bytes, size_t length) {
    if (__builtin_cpu_supports("sse4.2")) return update(state, bytes, length);
    return crc32c_update_by_table(state, bytes, length);
}
#else
uint32_t crc32c_update(uint32_t state, const void *bytes, size_t length) {
    return crc32c_update_by_table(state, bytes, length);
}
#endif
