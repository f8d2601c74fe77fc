#ifndef SOFTSNAP_VFIO_USER_H
#define SOFTSNAP_VFIO_USER_H

#include "layout.h"

// libvfio-user, docs/vfio-user.rst; structures of <linux/vfio.h> that its messages carry

struct vfio_user_header {
    uint16_t id;
    uint16_t command;
    uint32_t size;
    uint32_t flags;
    uint32_t error;
};
ASSERT_SIZE(struct vfio_user_header, 16);

enum {
    VFIO_USER_TYPE_MASK = 0xF,
    VFIO_USER_TYPE_COMMAND = 0,
    VFIO_USER_TYPE_REPLY = 1,
    VFIO_USER_NO_REPLY = 1 << 4,
    VFIO_USER_ERROR = 1 << 5,
};

struct vfio_user_version {
    uint16_t major;
    uint16_t minor;
};
ASSERT_SIZE(struct vfio_user_version, 4);

struct vfio_user_dma_map {
    uint32_t argsz;
    uint32_t flags;
    uint64_t offset;
    uint64_t address;
    uint64_t size;
};
ASSERT_SIZE(struct vfio_user_dma_map, 32);

enum {
    VFIO_USER_DMA_READABLE = 1 << 0,
    VFIO_USER_DMA_WRITABLE = 1 << 1,
};

struct vfio_user_dma_unmap {
    uint32_t argsz;
    uint32_t flags;
    uint64_t address;
    uint64_t size;
};
ASSERT_SIZE(struct vfio_user_dma_unmap, 24);

enum {
    VFIO_USER_DMA_UNMAP_ALL = 1 << 1,
};

struct vfio_user_device_info {
    uint32_t argsz;
    uint32_t flags;
    uint32_t num_regions;
    uint32_t num_irqs;
};
ASSERT_SIZE(struct vfio_user_device_info, 16);

enum {
    VFIO_USER_DEVICE_RESETTABLE = 1 << 0,
    VFIO_USER_DEVICE_PCI = 1 << 1,
};

// --- regions ---

enum {
    VFIO_USER_REGION_BAR0 = 0,
    VFIO_USER_REGION_ROM = 6,
    VFIO_USER_REGION_CONFIGURATION = 7,
    VFIO_USER_REGION_VGA = 8,
    VFIO_USER_REGION_COUNT = 9,
};

struct vfio_user_region_info {
    uint32_t argsz;
    uint32_t flags;
    uint32_t index;
    uint32_t cap_offset;
    uint64_t size;
    uint64_t offset;
};
ASSERT_SIZE(struct vfio_user_region_info, 32);

enum {
    VFIO_USER_REGION_READABLE = 1 << 0,
    VFIO_USER_REGION_WRITABLE = 1 << 1,
    VFIO_USER_REGION_MAPPABLE = 1 << 2,
    VFIO_USER_REGION_CAPABILITIES = 1 << 3,
};

struct vfio_user_info_capability {
    uint16_t id;
    uint16_t version;
    uint32_t next;
};
ASSERT_SIZE(struct vfio_user_info_capability, 8);

enum {
    VFIO_USER_CAPABILITY_SPARSE_MMAP = 1,
};

// Followed by nr_areas of the structure after it.
struct vfio_user_sparse_mmap {
    struct vfio_user_info_capability header;
    uint32_t nr_areas;
    uint32_t reserved;
};
ASSERT_SIZE(struct vfio_user_sparse_mmap, 16);

struct vfio_user_sparse_area {
    uint64_t offset;
    uint64_t size;
};
ASSERT_SIZE(struct vfio_user_sparse_area, 16);

// REGION_READ and REGION_WRITE; the data follows.
struct vfio_user_region_access {
    uint64_t offset;
    uint32_t region;
    uint32_t count;
};
ASSERT_SIZE(struct vfio_user_region_access, 16);

// REGION_WRITE_MULTI: a count of 8 bytes, then so many of these.
struct vfio_user_single_write {
    uint64_t offset;
    uint32_t region;
    uint32_t count;
    uint64_t data;
};
ASSERT_SIZE(struct vfio_user_single_write, 24);

// --- interrupts ---

enum {
    VFIO_USER_IRQ_INTX = 0,
    VFIO_USER_IRQ_MSI = 1,
    VFIO_USER_IRQ_MSIX = 2,
    VFIO_USER_IRQ_ERROR = 3,
    VFIO_USER_IRQ_REQUEST = 4,
    VFIO_USER_IRQ_COUNT = 5,
};

struct vfio_user_irq_info {
    uint32_t argsz;
    uint32_t flags;
    uint32_t index;
    uint32_t count;
};
ASSERT_SIZE(struct vfio_user_irq_info, 16);

enum {
    VFIO_USER_IRQ_INFO_EVENTFD = 1 << 0,
    VFIO_USER_IRQ_INFO_NORESIZE = 1 << 3,
};

struct vfio_user_irq_set {
    uint32_t argsz;
    uint32_t flags;
    uint32_t index;
    uint32_t start;
    uint32_t count;
};
ASSERT_SIZE(struct vfio_user_irq_set, 20);

enum {
    VFIO_USER_IRQ_SET_NONE = 1 << 0,
    VFIO_USER_IRQ_SET_BOOL = 1 << 1,
    VFIO_USER_IRQ_SET_EVENTFD = 1 << 2,
    VFIO_USER_IRQ_SET_MASK = 1 << 3,
    VFIO_USER_IRQ_SET_UNMASK = 1 << 4,
    VFIO_USER_IRQ_SET_TRIGGER = 1 << 5,
};

#endif
