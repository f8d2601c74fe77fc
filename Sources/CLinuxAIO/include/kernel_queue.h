#ifndef SOFTSNAP_KERNEL_QUEUE_H
#define SOFTSNAP_KERNEL_QUEUE_H

// Asynchronous file I/O by one of the kernel's two interfaces: Linux AIO (io_submit(2), as libaio
// calls it) or io_uring (io_uring_enter(2)). Both are used the same way: operations are prepared,
// handed to the kernel together, and their results are read from shared memory without a call.
// A queue belongs to one thread.

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

struct kernel_queue;

enum kernel_queue_kind { KERNEL_QUEUE_AIO = 0, KERNEL_QUEUE_URING = 1 };

/// Opens a queue of `capacity` operations at once; each completion signals `event`, an eventfd.
/// -1 and errno when the kernel refuses: EAGAIN (fs.aio-max-nr is used up), EPERM or ENOSYS
/// (io_uring is switched off).
int kernel_queue_open(enum kernel_queue_kind kind, uint32_t capacity, int event,
                      struct kernel_queue **queue);
/// Linux AIO waits for what is under way; io_uring does not.
void kernel_queue_close(struct kernel_queue *queue);

// Prepares an operation. `slot` is below the capacity and names it until its result is taken;
// `parts` stays valid until `kernel_queue_submit`, the memory until the result.
void kernel_queue_transfer(struct kernel_queue *queue, uint32_t slot, bool is_write, int descriptor,
                           const struct iovec *parts, uint32_t count, uint64_t offset);
void kernel_queue_sync(struct kernel_queue *queue, uint32_t slot, int descriptor);

/// Hands all prepared operations to the kernel. What it refuses gets a result at once; what it has
/// no room for stays prepared. `under_way` operations of before have no result yet.
void kernel_queue_submit(struct kernel_queue *queue, uint32_t under_way);
uint32_t kernel_queue_prepared(const struct kernel_queue *queue);

/// Takes one result: bytes done or a negated errno. False when there is none.
bool kernel_queue_reap(struct kernel_queue *queue, uint32_t *slot, int64_t *result);

#endif
