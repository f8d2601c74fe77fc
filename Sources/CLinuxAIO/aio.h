#ifndef SOFTSNAP_AIO_H
#define SOFTSNAP_AIO_H

// Linux AIO (io_setup(2)).

#include <linux/aio_abi.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

struct aio_refusal {
    uint32_t slot;
    int32_t code;
};

struct aio_queue {
    aio_context_t context;
    struct aio_ring *ring;
    int event;
    uint32_t prepared;
    uint32_t refused;
    struct iocb *blocks;           // by slot
    struct iocb **list;            // the prepared ones
    struct aio_refusal *refusals;  // results of operations that io_submit did not take
};

int aio_open(struct aio_queue *queue, uint32_t capacity, int event);
void aio_close(struct aio_queue *queue);
void aio_transfer(struct aio_queue *queue, uint32_t slot, bool is_write, int descriptor,
                  const struct iovec *parts, uint32_t count, uint64_t offset);
void aio_sync(struct aio_queue *queue, uint32_t slot, int descriptor);
void aio_submit(struct aio_queue *queue, uint32_t under_way);
bool aio_reap(struct aio_queue *queue, uint32_t *slot, int64_t *result);

#endif
