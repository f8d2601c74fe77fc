#ifndef SOFTSNAP_NVME_H
#define SOFTSNAP_NVME_H

#include "layout.h"

// NVM Express Base Specification 2.0 (below: Base) and NVM Command Set Specification 1.0 (NVM), in
// the shape that a 1.4 controller of the I/O type gives them. What Identify and the log pages
// return, and features and events: nvme_identify.h.

// --- Base §3.1: registers ---

enum {
    NVME_REGISTER_CAP = 0x00,
    NVME_REGISTER_VS = 0x08,
    NVME_REGISTER_INTMS = 0x0C,
    NVME_REGISTER_INTMC = 0x10,
    NVME_REGISTER_CC = 0x14,
    NVME_REGISTER_CSTS = 0x1C,
    NVME_REGISTER_NSSR = 0x20,
    NVME_REGISTER_AQA = 0x24,
    NVME_REGISTER_ASQ = 0x28,
    NVME_REGISTER_ACQ = 0x30,
    NVME_REGISTER_CMBLOC = 0x38,
    NVME_REGISTER_CMBSZ = 0x3C,
    NVME_REGISTER_BPINFO = 0x40,
    NVME_REGISTER_PMRCAP = 0xE00,
    NVME_REGISTER_DOORBELLS = 0x1000,  // stride 4 << CAP.DSTRD; SQ 0 tail, CQ 0 head, SQ 1 tail …

    NVME_CAP_MQES_SHIFT = 0,    // 16 bits, 0-based
    NVME_CAP_CQR_SHIFT = 16,    // queues must be contiguous
    NVME_CAP_AMS_SHIFT = 17,    // 2 bits
    NVME_CAP_TO_SHIFT = 24,     // 8 bits, 500 ms each
    NVME_CAP_DSTRD_SHIFT = 32,  // 4 bits
    NVME_CAP_NSSRS_SHIFT = 36,
    NVME_CAP_CSS_SHIFT = 37,  // 8 bits; bit 0: the NVM command set
    NVME_CAP_BPS_SHIFT = 45,
    NVME_CAP_MPSMIN_SHIFT = 48,  // 4 bits, 4 KiB << n
    NVME_CAP_MPSMAX_SHIFT = 52,
    NVME_CAP_PMRS_SHIFT = 56,
    NVME_CAP_CMBS_SHIFT = 57,

    NVME_CC_EN = 1 << 0,
    NVME_CC_CSS_SHIFT = 4,
    NVME_CC_CSS_MASK = 0x7 << 4,
    NVME_CC_MPS_SHIFT = 7,
    NVME_CC_MPS_MASK = 0xF << 7,
    NVME_CC_AMS_SHIFT = 11,
    NVME_CC_AMS_MASK = 0x7 << 11,
    NVME_CC_SHN_SHIFT = 14,
    NVME_CC_SHN_MASK = 0x3 << 14,
    NVME_CC_SHN_NORMAL = 1 << 14,
    NVME_CC_SHN_ABRUPT = 2 << 14,
    NVME_CC_IOSQES_SHIFT = 16,
    NVME_CC_IOSQES_MASK = 0xF << 16,
    NVME_CC_IOCQES_SHIFT = 20,
    NVME_CC_IOCQES_MASK = 0xF << 20,

    NVME_CSTS_RDY = 1 << 0,
    NVME_CSTS_CFS = 1 << 1,
    NVME_CSTS_SHST_MASK = 0x3 << 2,
    NVME_CSTS_SHST_OCCURRING = 1 << 2,
    NVME_CSTS_SHST_COMPLETE = 2 << 2,
    NVME_CSTS_NSSRO = 1 << 4,
    NVME_CSTS_PP = 1 << 5,

    NVME_VERSION_1_4 = 0x00010400,
    NVME_NSSR_MAGIC = 0x4E564D65,  // "NVMe"
};

// --- Base §3.3.3: queue entries ---

struct nvme_sgl_descriptor {
    uint64_t address;
    uint32_t length;
    uint8_t reserved[3];
    uint8_t type;  // sub type in the low nibble, type in the high one
};
ASSERT_SIZE(struct nvme_sgl_descriptor, 16);
ASSERT_OFFSET(struct nvme_sgl_descriptor, type, 15);

struct nvme_sqe {
    uint8_t opcode;
    uint8_t flags;  // bits 1:0 FUSE, bits 7:6 PSDT
    uint16_t command_id;
    uint32_t namespace_id;
    uint32_t cdw2;
    uint32_t cdw3;
    uint64_t metadata;
    uint64_t prp1;  // with PSDT: bytes 24 to 39 are an SGL descriptor
    uint64_t prp2;
    uint32_t cdw10;
    uint32_t cdw11;
    uint32_t cdw12;
    uint32_t cdw13;
    uint32_t cdw14;
    uint32_t cdw15;
};
ASSERT_SIZE(struct nvme_sqe, 64);
ASSERT_OFFSET(struct nvme_sqe, prp1, 24);
ASSERT_OFFSET(struct nvme_sqe, cdw10, 40);

struct nvme_cqe {
    uint32_t result;
    uint32_t result_high;
    uint16_t sq_head;
    uint16_t sq_id;
    uint16_t command_id;
    uint16_t status;  // bit 0: phase tag; the status field above it
};
ASSERT_SIZE(struct nvme_cqe, 16);
ASSERT_OFFSET(struct nvme_cqe, status, 14);

enum {
    NVME_SQE_BYTES = 64,
    NVME_CQE_BYTES = 16,
    NVME_FUSE_MASK = 0x3,
    NVME_FUSE_FIRST = 1,
    NVME_FUSE_SECOND = 2,
    NVME_PSDT_SHIFT = 6,
    NVME_PSDT_PRP = 0,
    NVME_PSDT_SGL = 1,
    NVME_PSDT_SGL_METADATA = 2,
    NVME_SGL_DATA_BLOCK = 0x00,  // types, with sub type 0 (address)
    NVME_SGL_BIT_BUCKET = 0x10,
    NVME_SGL_SEGMENT = 0x20,
    NVME_SGL_LAST_SEGMENT = 0x30,
    NVME_SGL_KEYED_DATA_BLOCK = 0x40,
};

enum { NVME_NAMESPACE_ALL = 0xFFFFFFFF };

// --- Base §5, §6, §7; NVM §3: commands ---

enum {
    NVME_ADMIN_DELETE_SQ = 0x00,
    NVME_ADMIN_CREATE_SQ = 0x01,
    NVME_ADMIN_GET_LOG_PAGE = 0x02,
    NVME_ADMIN_DELETE_CQ = 0x04,
    NVME_ADMIN_CREATE_CQ = 0x05,
    NVME_ADMIN_IDENTIFY = 0x06,
    NVME_ADMIN_ABORT = 0x08,
    NVME_ADMIN_SET_FEATURES = 0x09,
    NVME_ADMIN_GET_FEATURES = 0x0A,
    NVME_ADMIN_ASYNC_EVENT_REQUEST = 0x0C,
    NVME_ADMIN_NAMESPACE_MANAGEMENT = 0x0D,
    NVME_ADMIN_FIRMWARE_COMMIT = 0x10,
    NVME_ADMIN_FIRMWARE_DOWNLOAD = 0x11,
    NVME_ADMIN_SELF_TEST = 0x14,
    NVME_ADMIN_NAMESPACE_ATTACHMENT = 0x15,
    NVME_ADMIN_KEEP_ALIVE = 0x18,
    NVME_ADMIN_DIRECTIVE_SEND = 0x19,
    NVME_ADMIN_DIRECTIVE_RECEIVE = 0x1A,
    NVME_ADMIN_VIRTUALIZATION_MANAGEMENT = 0x1C,
    NVME_ADMIN_NVME_MI_SEND = 0x1D,
    NVME_ADMIN_NVME_MI_RECEIVE = 0x1E,
    NVME_ADMIN_DOORBELL_BUFFER_CONFIG = 0x7C,
    NVME_ADMIN_FORMAT_NVM = 0x80,
    NVME_ADMIN_SECURITY_SEND = 0x81,
    NVME_ADMIN_SECURITY_RECEIVE = 0x82,
    NVME_ADMIN_SANITIZE = 0x84,
    NVME_ADMIN_GET_LBA_STATUS = 0x86,

    NVME_NVM_FLUSH = 0x00,
    NVME_NVM_WRITE = 0x01,
    NVME_NVM_READ = 0x02,
    NVME_NVM_WRITE_UNCORRECTABLE = 0x04,
    NVME_NVM_COMPARE = 0x05,
    NVME_NVM_WRITE_ZEROES = 0x08,
    NVME_NVM_DATASET_MANAGEMENT = 0x09,
    NVME_NVM_VERIFY = 0x0C,
    NVME_NVM_RESERVATION_REGISTER = 0x0D,
    NVME_NVM_RESERVATION_REPORT = 0x0E,
    NVME_NVM_RESERVATION_ACQUIRE = 0x11,
    NVME_NVM_RESERVATION_RELEASE = 0x15,
    NVME_NVM_COPY = 0x19,
};

// Bits of dword 12 of the NVM commands, and of Dataset Management's dword 11.
enum {
    NVME_RW_DEALLOCATE_SHIFT = 25,  // Write Zeroes
    NVME_RW_PRINFO_SHIFT = 26,
    NVME_RW_FUA_SHIFT = 30,
    NVME_RW_LR_SHIFT = 31,
    NVME_DSM_DEALLOCATE = 1 << 2,
};

struct nvme_dsm_range {
    uint32_t attributes;
    uint32_t block_count;
    uint64_t block;
};
ASSERT_SIZE(struct nvme_dsm_range, 16);

// --- Base §3.3.3.2.1: status codes ---

enum {
    NVME_SCT_GENERIC = 0,
    NVME_SCT_COMMAND_SPECIFIC = 1,
    NVME_SCT_MEDIA = 2,
    NVME_SCT_PATH = 3,

    NVME_SC_SUCCESS = 0x00,
    NVME_SC_INVALID_OPCODE = 0x01,
    NVME_SC_INVALID_FIELD = 0x02,
    NVME_SC_COMMAND_ID_CONFLICT = 0x03,
    NVME_SC_DATA_TRANSFER_ERROR = 0x04,
    NVME_SC_ABORTED_POWER_LOSS = 0x05,
    NVME_SC_INTERNAL_ERROR = 0x06,
    NVME_SC_ABORT_REQUESTED = 0x07,
    NVME_SC_ABORTED_SQ_DELETION = 0x08,
    NVME_SC_ABORTED_FAILED_FUSED = 0x09,
    NVME_SC_ABORTED_MISSING_FUSED = 0x0A,
    NVME_SC_INVALID_NAMESPACE_OR_FORMAT = 0x0B,
    NVME_SC_COMMAND_SEQUENCE_ERROR = 0x0C,
    NVME_SC_INVALID_SGL_SEGMENT = 0x0D,
    NVME_SC_INVALID_SGL_COUNT = 0x0E,
    NVME_SC_DATA_SGL_LENGTH = 0x0F,
    NVME_SC_METADATA_SGL_LENGTH = 0x10,
    NVME_SC_SGL_TYPE = 0x11,
    NVME_SC_INVALID_CMB_USE = 0x12,
    NVME_SC_PRP_OFFSET = 0x13,
    NVME_SC_ATOMIC_WRITE_UNIT = 0x14,
    NVME_SC_OPERATION_DENIED = 0x15,
    NVME_SC_SGL_OFFSET = 0x16,
    NVME_SC_HOST_ID_FORMAT = 0x18,
    NVME_SC_SANITIZE_FAILED = 0x1C,
    NVME_SC_SANITIZE_IN_PROGRESS = 0x1D,
    NVME_SC_NAMESPACE_WRITE_PROTECTED = 0x20,
    NVME_SC_COMMAND_INTERRUPTED = 0x21,
    NVME_SC_TRANSIENT_TRANSPORT = 0x22,
    NVME_SC_LBA_OUT_OF_RANGE = 0x80,
    NVME_SC_CAPACITY_EXCEEDED = 0x81,
    NVME_SC_NAMESPACE_NOT_READY = 0x82,
    NVME_SC_RESERVATION_CONFLICT = 0x83,

    // Command specific
    NVME_SC_INVALID_COMPLETION_QUEUE = 0x00,
    NVME_SC_INVALID_QUEUE_ID = 0x01,
    NVME_SC_INVALID_QUEUE_SIZE = 0x02,
    NVME_SC_ABORT_LIMIT = 0x03,
    NVME_SC_ASYNC_EVENT_LIMIT = 0x05,
    NVME_SC_INVALID_FIRMWARE_SLOT = 0x06,
    NVME_SC_INVALID_FIRMWARE_IMAGE = 0x07,
    NVME_SC_INVALID_INTERRUPT_VECTOR = 0x08,
    NVME_SC_INVALID_LOG_PAGE = 0x09,
    NVME_SC_INVALID_FORMAT = 0x0A,
    NVME_SC_INVALID_QUEUE_DELETION = 0x0C,
    NVME_SC_FEATURE_NOT_SAVEABLE = 0x0D,
    NVME_SC_FEATURE_NOT_CHANGEABLE = 0x0E,
    NVME_SC_FEATURE_NOT_NAMESPACE_SPECIFIC = 0x0F,
    NVME_SC_NAMESPACE_ALREADY_ATTACHED = 0x18,
    NVME_SC_NAMESPACE_NOT_ATTACHED = 0x1A,
    NVME_SC_CONTROLLER_LIST_INVALID = 0x1C,
    NVME_SC_CONFLICTING_ATTRIBUTES = 0x80,
    NVME_SC_INVALID_PROTECTION_INFORMATION = 0x81,
    NVME_SC_READ_ONLY_RANGE = 0x82,

    // Media and data integrity
    NVME_SC_WRITE_FAULT = 0x80,
    NVME_SC_UNRECOVERED_READ_ERROR = 0x81,
    NVME_SC_COMPARE_FAILURE = 0x85,
    NVME_SC_ACCESS_DENIED = 0x86,
    NVME_SC_DEALLOCATED_BLOCK = 0x87,
};

#endif
