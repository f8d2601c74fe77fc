#ifndef SOFTSNAP_VHOST_USER_H
#define SOFTSNAP_VHOST_USER_H

#include "layout.h"

// QEMU, docs/interop/vhost-user.rst

struct vhost_user_header {
    uint32_t request;
    uint32_t flags;
    uint32_t size;
};
ASSERT_SIZE(struct vhost_user_header, 12);

struct vhost_user_vring_state {
    uint32_t index;
    uint32_t number;
};
ASSERT_SIZE(struct vhost_user_vring_state, 8);

struct vhost_user_vring_address {
    uint32_t index;
    uint32_t flags;
    uint64_t descriptors;
    uint64_t used;
    uint64_t available;
    uint64_t log;
};
ASSERT_SIZE(struct vhost_user_vring_address, 40);

struct vhost_user_memory_region {
    uint64_t guest_address;
    uint64_t size;
    uint64_t user_address;
    uint64_t mmap_offset;
};
ASSERT_SIZE(struct vhost_user_memory_region, 32);

struct vhost_user_log {
    uint64_t mmap_size;
    uint64_t mmap_offset;
};
ASSERT_SIZE(struct vhost_user_log, 16);

struct vhost_user_configuration {
    uint32_t offset;
    uint32_t size;
    uint32_t flags;
};
ASSERT_SIZE(struct vhost_user_configuration, 12);

struct vhost_user_inflight {
    uint64_t mmap_size;
    uint64_t mmap_offset;
    uint16_t num_queues;
    uint16_t queue_size;
    uint32_t padding;
};
ASSERT_SIZE(struct vhost_user_inflight, 24);

// --- in-flight region, one per queue, each aligned to 64 bytes ---

struct vhost_inflight_split_entry {
    uint8_t inflight;
    uint8_t padding[5];
    uint16_t next;
    uint64_t counter;
};
ASSERT_SIZE(struct vhost_inflight_split_entry, 16);

struct vhost_inflight_split_queue {
    uint64_t features;
    uint16_t version;
    uint16_t desc_num;
    uint16_t last_batch_head;
    uint16_t used_idx;
};
ASSERT_SIZE(struct vhost_inflight_split_queue, 16);

struct vhost_inflight_packed_entry {
    uint8_t inflight;
    uint8_t padding;
    uint16_t next;
    uint16_t last;
    uint16_t num;
    uint64_t counter;
    uint16_t id;
    uint16_t flags;
    uint32_t len;
    uint64_t addr;
};
ASSERT_SIZE(struct vhost_inflight_packed_entry, 32);

struct vhost_inflight_packed_queue {
    uint64_t features;
    uint16_t version;
    uint16_t desc_num;
    uint16_t free_head;
    uint16_t old_free_head;
    uint16_t used_idx;
    uint16_t old_used_idx;
    uint8_t used_wrap_counter;
    uint8_t old_used_wrap_counter;
    uint8_t padding[7];
};
ASSERT_OFFSET(struct vhost_inflight_packed_queue, used_wrap_counter, 20);

#endif
