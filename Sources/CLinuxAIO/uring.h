#ifndef SOFTSNAP_URING_H
#define SOFTSNAP_URING_H

// io_uring (io_uring(7)) by its three system calls.

#include <linux/io_uring.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct uring_queue {
    int descriptor;
    uint32_t tail;  // of the submission queue, with what has been prepared
    uint32_t *submission_head;
    uint32_t *submission_tail;
    uint32_t *submission_flags;
    uint32_t submission_mask;
    uint32_t *completion_head;
    uint32_t *completion_tail;
    uint32_t completion_mask;
    struct io_uring_sqe *entries;
    struct io_uring_cqe *completions;
    void *rings;
    size_t rings_length;
    size_t entries_length;
    bool defers;  // results wait in the kernel until the thread asks for them
};

int uring_open(struct uring_queue *queue, uint32_t capacity, int event);
void uring_close(struct uring_queue *queue);
void uring_transfer(struct uring_queue *queue, uint32_t slot, bool is_write, int descriptor,
                    const struct iovec *parts, uint32_t count, uint64_t offset);
void uring_sync(struct uring_queue *queue, uint32_t slot, int descriptor);
void uring_submit(struct uring_queue *queue, uint32_t under_way);
uint32_t uring_prepared(const struct uring_queue *queue);
bool uring_reap(struct uring_queue *queue, uint32_t *slot, int64_t *result);

#endif
