#ifndef SOFTSNAP_FUNCTION_MEMORY_H
#define SOFTSNAP_FUNCTION_MEMORY_H

#include "layout.h"

// Function memory, version 1: shared by the software DPU and the service that holds the lease.
// One header, then one queue record for each queue, then each queue's in-flight area.

enum {
    FUNCTION_MEMORY_MAGIC = 0x464E5353,  // "SSNF"
    FUNCTION_MEMORY_VERSION = 1,
    FUNCTION_MEMORY_MAX_QUEUES = 64,
};

struct function_memory_header {
    uint32_t magic;
    uint16_t version;
    uint16_t queue_count;
    uint64_t byte_count;
    uint64_t checksum;  // FNV-1a of everything above and of the layout fields below
    uint32_t queue_table_offset;
    uint32_t inflight_offset;
    uint32_t inflight_stride;
    uint16_t queue_size;  // entries that an in-flight area has room for
    uint16_t reserved0;
    uint8_t reserved1[24];
};
ASSERT_SIZE(struct function_memory_header, 64);

// One line per queue. Written by the service alone.
struct function_memory_queue {
    uint16_t last_available;  // next entry to fetch; bit 15 is the wrap counter of a packed ring
    uint16_t last_used;
    uint32_t flags;
    uint8_t reserved[56];
};
ASSERT_SIZE(struct function_memory_queue, 64);

#endif
