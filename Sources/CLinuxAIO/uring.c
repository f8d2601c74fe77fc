#define _GNU_SOURCE
#include "uring.h"

#include "submission.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static void *map(int descriptor, size_t length, uint64_t offset) {
    return mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, descriptor,
                (off_t)offset);
}

static int map_rings(struct uring_queue *queue, const struct io_uring_params *params) {
    size_t submission = params->sq_off.array + params->sq_entries * sizeof(uint32_t);
    size_t completion = params->cq_off.cqes + params->cq_entries * sizeof(struct io_uring_cqe);
    queue->rings_length = submission > completion ? submission : completion;
    queue->entries_length = params->sq_entries * sizeof(struct io_uring_sqe);
    queue->rings = map(queue->descriptor, queue->rings_length, IORING_OFF_SQ_RING);
    if (queue->rings == MAP_FAILED) return -1;
    queue->entries = map(queue->descriptor, queue->entries_length, IORING_OFF_SQES);
    if (queue->entries == MAP_FAILED) {
        munmap(queue->rings, queue->rings_length);
        return -1;
    }
    char *base = queue->rings;
    queue->submission_head = (uint32_t *)(base + params->sq_off.head);
    queue->submission_tail = (uint32_t *)(base + params->sq_off.tail);
    queue->submission_flags = (uint32_t *)(base + params->sq_off.flags);
    queue->submission_mask = params->sq_entries - 1;
    queue->completion_head = (uint32_t *)(base + params->cq_off.head);
    queue->completion_tail = (uint32_t *)(base + params->cq_off.tail);
    queue->completion_mask = params->cq_entries - 1;
    queue->completions = (struct io_uring_cqe *)(base + params->cq_off.cqes);
    uint32_t *order = (uint32_t *)(base + params->sq_off.array);
    for (uint32_t i = 0; i < params->sq_entries; i++) order[i] = i;
    return 0;
}

// Results are finished on the thread that asks for them, not wherever the device interrupts it;
// Linux 6.1 and later. The thread that opens the queue is its only user.
static int set_up(struct uring_queue *queue, uint32_t capacity, struct io_uring_params *params) {
    uint32_t deferring =
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG;
    *params = (struct io_uring_params){.flags = deferring};
    queue->defers = true;
    int descriptor = (int)syscall(SYS_io_uring_setup, capacity, params);
    if (descriptor >= 0 || errno != EINVAL) return descriptor;
    *params = (struct io_uring_params){0};
    queue->defers = false;
    return (int)syscall(SYS_io_uring_setup, capacity, params);
}

static long enter(struct uring_queue *queue, uint32_t count) {
    return syscall(SYS_io_uring_enter, queue->descriptor, count, 0,
                   queue->defers ? IORING_ENTER_GETEVENTS : 0, NULL, 0);
}

int uring_open(struct uring_queue *queue, uint32_t capacity, int event) {
    struct io_uring_params params;
    queue->descriptor = set_up(queue, capacity, &params);
    if (queue->descriptor < 0) return -1;
    // Both came with Linux 5.5; without them results could be lost or vectors read too late.
    uint32_t needed = IORING_FEAT_SINGLE_MMAP | IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE;
    if ((params.features & needed) != needed) {
        close(queue->descriptor);
        errno = ENOSYS;
        return -1;
    }
    if (map_rings(queue, &params) < 0) {
        int saved = errno;
        close(queue->descriptor);
        errno = saved;
        return -1;
    }
    if (syscall(SYS_io_uring_register, queue->descriptor, IORING_REGISTER_EVENTFD, &event, 1) < 0) {
        int saved = errno;
        uring_close(queue);
        errno = saved;
        return -1;
    }
    return 0;
}

void uring_close(struct uring_queue *queue) {
    munmap(queue->entries, queue->entries_length);
    munmap(queue->rings, queue->rings_length);
    close(queue->descriptor);
}

static struct io_uring_sqe *prepare(struct uring_queue *queue, uint32_t slot, int descriptor,
                                    int operation) {
    // There are as many entries as slots, so the next one is free.
    struct io_uring_sqe *entry = &queue->entries[queue->tail++ & queue->submission_mask];
    memset(entry, 0, sizeof *entry);
    entry->opcode = (uint8_t)operation;
    entry->fd = descriptor;
    entry->user_data = slot;
    return entry;
}

void uring_transfer(struct uring_queue *queue, uint32_t slot, bool is_write, int descriptor,
                    const struct iovec *parts, uint32_t count, uint64_t offset) {
    int operation = is_write ? IORING_OP_WRITEV : IORING_OP_READV;
    struct io_uring_sqe *entry = prepare(queue, slot, descriptor, operation);
    entry->addr = (uintptr_t)parts;
    entry->len = count;
    if (count == 1 && parts->iov_len <= UINT32_MAX) {
        entry->opcode = is_write ? IORING_OP_WRITE : IORING_OP_READ;
        entry->addr = (uintptr_t)parts->iov_base;
        entry->len = (uint32_t)parts->iov_len;
    }
    entry->off = offset;
}

void uring_sync(struct uring_queue *queue, uint32_t slot, int descriptor) {
    prepare(queue, slot, descriptor, IORING_OP_FSYNC)->fsync_flags = IORING_FSYNC_DATASYNC;
}

uint32_t uring_prepared(const struct uring_queue *queue) {
    return queue->tail - __atomic_load_n(queue->submission_head, __ATOMIC_ACQUIRE);
}

void uring_submit(struct uring_queue *queue, uint32_t under_way) {
    // Pairs with the kernel's read of the tail before the entries (io_get_sqring).
    __atomic_store_n(queue->submission_tail, queue->tail, __ATOMIC_RELEASE);
    uint32_t left, limit = first_submission(under_way);
    while ((left = uring_prepared(queue)) > 0) {
        uint32_t count = left < limit ? left : limit;
        long taken = enter(queue, count);
        if (taken < 0 && errno == EINTR) continue;
        // Out of memory or busy: what is left is offered again at the next call.
        if (taken <= 0) break;
        limit *= 2;
    }
}

bool uring_reap(struct uring_queue *queue, uint32_t *slot, int64_t *result) {
    uint32_t head = *queue->completion_head;
    // Pairs with the kernel's write of the tail after the entry.
    if (head == __atomic_load_n(queue->completion_tail, __ATOMIC_ACQUIRE)) {
        uint32_t flags = __atomic_load_n(queue->submission_flags, __ATOMIC_RELAXED);
        if (!(flags & IORING_SQ_TASKRUN)) return false;
        enter(queue, 0);
        if (head == __atomic_load_n(queue->completion_tail, __ATOMIC_ACQUIRE)) return false;
    }
    struct io_uring_cqe *completion = &queue->completions[head & queue->completion_mask];
    *slot = (uint32_t)completion->user_data;
    *result = completion->res;
    // Pairs with the kernel's read of the head before it overwrites the entry.
    __atomic_store_n(queue->completion_head, head + 1, __ATOMIC_RELEASE);
    return true;
}
