#include "kernel_queue.h"

#include "aio.h"
#include "uring.h"

#include <errno.h>
#include <stdlib.h>

struct kernel_queue {
    enum kernel_queue_kind kind;
    union {
        struct aio_queue aio;
        struct uring_queue uring;
    };
};

int kernel_queue_open(enum kernel_queue_kind kind, uint32_t capacity, int event,
                      struct kernel_queue **queue) {
    struct kernel_queue *made = calloc(1, sizeof *made);
    if (!made) return -1;
    made->kind = kind;
    int result = kind == KERNEL_QUEUE_AIO ? aio_open(&made->aio, capacity, event)
                                          : uring_open(&made->uring, capacity, event);
    if (result < 0) {
        int saved = errno;
        free(made);
        errno = saved;
        return -1;
    }
    *queue = made;
    return 0;
}

void kernel_queue_close(struct kernel_queue *queue) {
    if (queue->kind == KERNEL_QUEUE_AIO)
        aio_close(&queue->aio);
    else
        uring_close(&queue->uring);
    free(queue);
}

void kernel_queue_transfer(struct kernel_queue *queue, uint32_t slot, bool is_write, int descriptor,
                           const struct iovec *parts, uint32_t count, uint64_t offset) {
    if (queue->kind == KERNEL_QUEUE_AIO)
        aio_transfer(&queue->aio, slot, is_write, descriptor, parts, count, offset);
    else
        uring_transfer(&queue->uring, slot, is_write, descriptor, parts, count, offset);
}

void kernel_queue_sync(struct kernel_queue *queue, uint32_t slot, int descriptor) {
    if (queue->kind == KERNEL_QUEUE_AIO)
        aio_sync(&queue->aio, slot, descriptor);
    else
        uring_sync(&queue->uring, slot, descriptor);
}

void kernel_queue_submit(struct kernel_queue *queue, uint32_t under_way) {
    if (queue->kind == KERNEL_QUEUE_AIO)
        aio_submit(&queue->aio, under_way);
    else
        uring_submit(&queue->uring, under_way);
}

uint32_t kernel_queue_prepared(const struct kernel_queue *queue) {
    return queue->kind == KERNEL_QUEUE_AIO ? queue->aio.prepared
                                           : uring_prepared(&queue->uring);
}

bool kernel_queue_reap(struct kernel_queue *queue, uint32_t *slot, int64_t *result) {
    return queue->kind == KERNEL_QUEUE_AIO ? aio_reap(&queue->aio, slot, result)
                                           : uring_reap(&queue->uring, slot, result);
}
