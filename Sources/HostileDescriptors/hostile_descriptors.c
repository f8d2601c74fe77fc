#define _GNU_SOURCE
#include "hostile_descriptors.h"

#include <fcntl.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

int hostile_full_event(void) {
    int event = eventfd(0, EFD_CLOEXEC);
    uint64_t most = UINT64_MAX - 1;
    if (event >= 0 && write(event, &most, sizeof most) < 0) return -1;
    return event;
}

int hostile_pipe(void) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0) return -1;
    close(ends[1]);
    return ends[0];
}

bool hostile_may_truncate(void) {
#if __has_feature(thread_sanitizer)
    return false;
#else
    return true;
#endif
}
