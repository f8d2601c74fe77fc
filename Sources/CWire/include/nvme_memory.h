#ifndef SOFTSNAP_NVME_MEMORY_H
#define SOFTSNAP_NVME_MEMORY_H

#include "layout.h"
#include "nvme.h"

// Memory of an NVMe function: kept by the hardware while services come and go.
//
//     header | controller record, two copies | one queue cell for each id | one journal for each id
//
// A record has two copies; the one with the higher sequence whose checksum is right counts, so an
// update that is cut short leaves the older one.
//
// Version 2 makes an admin command's effect and its result one atomic record. Its places are those
// of version 1; what it adds is named below. A mark is a command's number on the admin queue, from
// 1; what bears one counts when the controller record's `settled` has reached it.

enum {
    NVME_MEMORY_MAGIC = 0x4D4E5353,  // "SSNM"
    NVME_MEMORY_OLDEST_VERSION = 1,
    NVME_MEMORY_VERSION = 2,
    NVME_MEMORY_CONTROLLER_BYTES = 4096,  // version 2: behind 8 bytes of `settled`
    NVME_MEMORY_IN_FLIGHT_LIMIT = 256,
    NVME_MEMORY_STAGE_BYTES = 65536,
};

struct nvme_memory_header {
    uint32_t magic;
    uint16_t version;
    uint16_t queue_count;
    uint64_t byte_count;
    uint64_t checksum;  // FNV-1a of the header with this field 0
    uint32_t controller_offset;
    uint32_t queue_offset;
    uint32_t journal_offset;
    uint32_t journal_stride;
    uint16_t in_flight_limit;
    uint16_t reserved0;
    uint8_t reserved1[20];
};
ASSERT_SIZE(struct nvme_memory_header, 64);

// Before the bytes of each copy of a record.
struct nvme_record_header {
    uint64_t sequence;  // 0: never written
    uint64_t checksum;  // FNV-1a of sequence, length and bytes
    uint32_t byte_count;
    uint32_t reserved;
};
ASSERT_SIZE(struct nvme_record_header, 24);

// What a submission or completion queue was created with.
struct nvme_queue_record {
    uint64_t address;
    uint32_t size;
    uint16_t completion_queue;  // submission queue only
    uint16_t vector;            // completion queue only
    uint8_t is_valid;
    uint8_t is_interrupt_enabled;
    uint8_t priority;
    uint8_t reserved[5];
    uint64_t mark;  // version 2 only: of the command that made or deleted the queue; 0: a reset
};
ASSERT_SIZE(struct nvme_queue_record, 32);
ASSERT_OFFSET(struct nvme_queue_record, mark, 24);

// All that is kept for one queue id.
struct nvme_queue_cell {
    uint8_t submission[2][64];
    uint8_t completion[2][64];
    uint64_t consumed;     // commands taken off the submission queue since it was created
    uint64_t last_answer;  // processor ticks of the completion queue's last post; 0: none
    uint8_t reserved[48];
};
ASSERT_SIZE(struct nvme_queue_cell, 320);
ASSERT_OFFSET(struct nvme_queue_cell, consumed, 256);
ASSERT_OFFSET(struct nvme_queue_cell, last_answer, 264);

// One command in flight.
struct nvme_in_flight_slot {
    struct nvme_sqe command;
    uint64_t sequence;    // the submission queue's consumed count before it
    uint32_t completion;  // where that goes: bit 31, phase at 16, index below; 0: not known yet
    uint16_t submission_queue;
    uint8_t state;  // 0: free, 1: taken
    uint8_t stage;  // 1: a fused write that may have reached the device
    uint64_t mark;    // version 2, admin queue: of the command that settled this one; 0: open
    uint32_t result;  // with a mark: dword 0 of the completion
    uint16_t status;  // with a mark
    uint8_t reserved[34];
};
ASSERT_SIZE(struct nvme_in_flight_slot, 128);
ASSERT_OFFSET(struct nvme_in_flight_slot, sequence, 64);
ASSERT_OFFSET(struct nvme_in_flight_slot, completion, 72);
ASSERT_OFFSET(struct nvme_in_flight_slot, submission_queue, 76);
ASSERT_OFFSET(struct nvme_in_flight_slot, state, 78);
ASSERT_OFFSET(struct nvme_in_flight_slot, mark, 80);
ASSERT_OFFSET(struct nvme_in_flight_slot, result, 88);
ASSERT_OFFSET(struct nvme_in_flight_slot, status, 92);

// One completion queue's journal; the staging area behind it is scratch memory of its queue.
struct nvme_journal_header {
    uint32_t tail;  // next completion: phase at 16 (1 in the first round), index below
    uint32_t is_used;
    uint8_t reserved[56];
};
ASSERT_SIZE(struct nvme_journal_header, 64);

#endif
