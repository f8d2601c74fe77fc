#define _GNU_SOURCE
#include "aio.h"

#include "submission.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

// The completion ring as the kernel maps it at the address that is the context's name (fs/aio.c).
struct aio_ring {
    uint32_t id;
    uint32_t count;
    uint32_t head;  // ours
    uint32_t tail;  // the kernel's
    uint32_t magic;
    uint32_t compatible_features;
    uint32_t incompatible_features;
    uint32_t header_length;
    struct io_event events[];
};

enum { AIO_RING_MAGIC = 0xa10a10a1 };

int aio_open(struct aio_queue *queue, uint32_t capacity, int event) {
    queue->blocks = calloc(capacity, sizeof *queue->blocks);
    queue->list = calloc(capacity, sizeof *queue->list);
    queue->refusals = calloc(capacity, sizeof *queue->refusals);
    queue->event = event;
    if (!queue->blocks || !queue->list || !queue->refusals ||
        syscall(SYS_io_setup, capacity, &queue->context) < 0) {
        int saved = errno;
        free(queue->blocks);
        free(queue->list);
        free(queue->refusals);
        errno = saved;
        return -1;
    }
    struct aio_ring *ring = (struct aio_ring *)queue->context;
    // A kernel with another layout is asked by system call.
    if (ring->magic == AIO_RING_MAGIC && ring->incompatible_features == 0 &&
        ring->header_length == sizeof *ring)
        queue->ring = ring;
    return 0;
}

void aio_close(struct aio_queue *queue) {
    syscall(SYS_io_destroy, queue->context);
    free(queue->blocks);
    free(queue->list);
    free(queue->refusals);
}

static struct iocb *prepare(struct aio_queue *queue, uint32_t slot, int descriptor, int operation) {
    struct iocb *block = &queue->blocks[slot];
    memset(block, 0, sizeof *block);
    block->aio_data = slot;
    block->aio_lio_opcode = (uint16_t)operation;
    block->aio_fildes = (uint32_t)descriptor;
    block->aio_flags = IOCB_FLAG_RESFD;
    block->aio_resfd = (uint32_t)queue->event;
    queue->list[queue->prepared++] = block;
    return block;
}

void aio_transfer(struct aio_queue *queue, uint32_t slot, bool is_write, int descriptor,
                  const struct iovec *parts, uint32_t count, uint64_t offset) {
    struct iocb *block;
    if (count == 1) {
        block = prepare(queue, slot, descriptor, is_write ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD);
        block->aio_buf = (uintptr_t)parts->iov_base;
        block->aio_nbytes = parts->iov_len;
    } else {
        block = prepare(queue, slot, descriptor, is_write ? IOCB_CMD_PWRITEV : IOCB_CMD_PREADV);
        block->aio_buf = (uintptr_t)parts;
        block->aio_nbytes = count;
    }
    block->aio_offset = (int64_t)offset;
}

void aio_sync(struct aio_queue *queue, uint32_t slot, int descriptor) {
    prepare(queue, slot, descriptor, IOCB_CMD_FDSYNC);
}

void aio_submit(struct aio_queue *queue, uint32_t under_way) {
    uint32_t done = 0;
    long limit = first_submission(under_way);
    while (done < queue->prepared) {
        long left = (long)(queue->prepared - done);
        long count = left < limit ? left : limit;
        long taken = syscall(SYS_io_submit, queue->context, count, queue->list + done);
        if (taken >= 0) {
            done += (uint32_t)taken;
            limit *= 2;
            continue;
        }
        if (errno == EAGAIN) break;
        if (errno == EINTR) continue;
        // The error is about the first of the list; the others may be sound.
        queue->refusals[queue->refused++] =
            (struct aio_refusal){(uint32_t)queue->list[done++]->aio_data, -errno};
    }
    queue->prepared -= done;
    memmove(queue->list, queue->list + done, queue->prepared * sizeof *queue->list);
}

bool aio_reap(struct aio_queue *queue, uint32_t *slot, int64_t *result) {
    if (queue->refused > 0) {
        struct aio_refusal refusal = queue->refusals[--queue->refused];
        *slot = refusal.slot;
        *result = refusal.code;
        return true;
    }
    struct io_event event;
    struct aio_ring *ring = queue->ring;
    if (ring) {
        uint32_t head = ring->head;
        // Pairs with the kernel's write of the tail after the event (aio_complete).
        if (head == __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE)) return false;
        event = ring->events[head];
        // Pairs with the kernel's read of the head before it overwrites the event.
        __atomic_store_n(&ring->head, (head + 1) % ring->count, __ATOMIC_RELEASE);
    } else {
        struct timespec now = {0};
        if (syscall(SYS_io_getevents, queue->context, 0L, 1L, &event, &now) < 1) return false;
    }
    *slot = (uint32_t)event.data;
    *result = event.res;
    return true;
}
