#ifndef SOFTSNAP_VIRTIO_H
#define SOFTSNAP_VIRTIO_H

#include "layout.h"

// --- Virtio 1.2 §2.7: split virtqueues ---

struct virtio_split_descriptor {
    uint64_t address;
    uint32_t length;
    uint16_t flags;
    uint16_t next;
};
ASSERT_SIZE(struct virtio_split_descriptor, 16);

struct virtio_used_element {
    uint32_t id;
    uint32_t length;
};
ASSERT_SIZE(struct virtio_used_element, 8);

// --- Virtio 1.2 §2.8: packed virtqueues ---

struct virtio_packed_descriptor {
    uint64_t address;
    uint32_t length;
    uint16_t id;
    uint16_t flags;
};
ASSERT_SIZE(struct virtio_packed_descriptor, 16);
ASSERT_OFFSET(struct virtio_packed_descriptor, flags, 14);

enum {
    VIRTIO_DESC_NEXT = 1,
    VIRTIO_DESC_WRITE = 2,
    VIRTIO_DESC_INDIRECT = 4,
    VIRTIO_PACKED_AVAIL = 1 << 7,
    VIRTIO_PACKED_USED = 1 << 15,
    VIRTIO_AVAIL_NO_INTERRUPT = 1,
    VIRTIO_USED_NO_NOTIFY = 1,
    VIRTIO_EVENT_ENABLE = 0,
    VIRTIO_EVENT_DISABLE = 1,
    VIRTIO_EVENT_DESC = 2,
};

// --- Virtio 1.2 §2.1: device status ---

enum {
    VIRTIO_STATUS_ACKNOWLEDGE = 1,
    VIRTIO_STATUS_DRIVER = 2,
    VIRTIO_STATUS_DRIVER_OK = 4,
    VIRTIO_STATUS_FEATURES_OK = 8,
    VIRTIO_STATUS_NEEDS_RESET = 64,
    VIRTIO_STATUS_FAILED = 128,
};

// --- Virtio 1.2 §5.2: block device ---

struct virtio_blk_request_header {
    uint32_t type;
    uint32_t reserved;
    uint64_t sector;
};
ASSERT_SIZE(struct virtio_blk_request_header, 16);

struct virtio_blk_range {
    uint64_t sector;
    uint32_t sector_count;
    uint32_t flags;  // bit 0: unmap (write zeroes only)
};
ASSERT_SIZE(struct virtio_blk_range, 16);

struct virtio_blk_configuration {
    uint64_t capacity;
    uint32_t size_max;
    uint32_t seg_max;
    uint16_t cylinders;
    uint8_t heads;
    uint8_t sectors;
    uint32_t blk_size;
    uint8_t physical_block_exponent;
    uint8_t alignment_offset;
    uint16_t minimum_io_size;
    uint32_t optimal_io_size;
    uint8_t writeback;
    uint8_t unused0;
    uint16_t num_queues;
    uint32_t max_discard_sectors;
    uint32_t max_discard_seg;
    uint32_t discard_sector_alignment;
    uint32_t max_write_zeroes_sectors;
    uint32_t max_write_zeroes_seg;
    uint8_t write_zeroes_may_unmap;
    uint8_t unused1[3];
};
ASSERT_OFFSET(struct virtio_blk_configuration, num_queues, 34);
ASSERT_OFFSET(struct virtio_blk_configuration, max_discard_sectors, 36);
ASSERT_OFFSET(struct virtio_blk_configuration, write_zeroes_may_unmap, 56);

enum {
    VIRTIO_BLK_IN = 0,
    VIRTIO_BLK_OUT = 1,
    VIRTIO_BLK_FLUSH = 4,
    VIRTIO_BLK_GET_ID = 8,
    VIRTIO_BLK_DISCARD = 11,
    VIRTIO_BLK_WRITE_ZEROES = 13,
    VIRTIO_BLK_STATUS_OK = 0,
    VIRTIO_BLK_STATUS_IOERR = 1,
    VIRTIO_BLK_STATUS_UNSUPP = 2,
    VIRTIO_BLK_ID_BYTES = 20,
    VIRTIO_BLK_SECTOR_BYTES = 512,
    VIRTIO_BLK_CONFIGURATION_BYTES = 60,  // without the padding of the C structure
};

#endif
