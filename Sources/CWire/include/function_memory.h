#ifndef SOFTSNAP_FUNCTION_MEMORY_H
#define SOFTSNAP_FUNCTION_MEMORY_H

#include "layout.h"

// Function memory, version 1: shared by the software DPU and the service that holds the lease.
// One header, then each queue's in-flight area (QEMU, vhost-user.rst, "Inflight I/O tracking"). The
// last 8 bytes of an area, which no log reaches, are the processor ticks of the queue's last
// answer; 0: none, also of a service that does not keep them.

enum {
    FUNCTION_MEMORY_MAGIC = 0x464E5353,  // "SSNF"
    FUNCTION_MEMORY_VERSION = 1,
};

struct function_memory_header {
    uint32_t magic;
    uint16_t version;
    uint16_t queue_count;
    uint64_t byte_count;
    uint64_t checksum;  // FNV-1a of the header with this field 0
    uint32_t inflight_offset;
    uint32_t inflight_stride;
    uint16_t queue_size;  // entries that an in-flight area has room for
    uint16_t reserved0;
    uint8_t reserved1[28];
};
ASSERT_SIZE(struct function_memory_header, 64);

#endif
