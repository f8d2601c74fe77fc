#ifndef SOFTSNAP_NVMEOF_H
#define SOFTSNAP_NVMEOF_H

#include "nvme.h"

// NVMe over Fabrics 1.1 (below: Fabrics) and NVMe/TCP Transport Specification 1.0 (TCP): what goes
// between a host and a remote controller. Commands and Identify data: nvme.h, nvme_identify.h.

// --- TCP §3.6: protocol data units ---

enum {
    NVME_TCP_ICREQ = 0x00,
    NVME_TCP_ICRESP = 0x01,
    NVME_TCP_H2C_TERM_REQ = 0x02,
    NVME_TCP_C2H_TERM_REQ = 0x03,
    NVME_TCP_CAPSULE_CMD = 0x04,
    NVME_TCP_CAPSULE_RESP = 0x05,
    NVME_TCP_H2C_DATA = 0x06,
    NVME_TCP_C2H_DATA = 0x07,
    NVME_TCP_R2T = 0x09,

    NVME_TCP_FLAG_HEADER_DIGEST = 1 << 0,
    NVME_TCP_FLAG_DATA_DIGEST = 1 << 1,
    NVME_TCP_FLAG_LAST = 1 << 2,
    NVME_TCP_FLAG_SUCCESS = 1 << 3,  // the last data is the completion too

    NVME_TCP_DIGEST_BYTES = 4,
    NVME_TCP_ALIGNMENT_LIMIT = 31,  // HPDA and CPDA, 0-based dwords
    NVME_TCP_LEAST_MAXH2CDATA = 4096,
    NVME_TCP_ADMIN_CAPSULE_DATA_BYTES = 8192,
};

struct nvme_tcp_header {
    uint8_t type;
    uint8_t flags;
    uint8_t header_bytes;  // without digest
    uint8_t data_offset;   // from the start of the unit; 0: there is no data
    uint32_t byte_count;   // of the whole unit
};
ASSERT_SIZE(struct nvme_tcp_header, 8);

struct nvme_tcp_icreq {
    struct nvme_tcp_header header;
    uint16_t version;
    uint8_t data_alignment;  // HPDA
    uint8_t digests;         // bit 0 header, bit 1 data
    uint32_t maximum_r2t;    // of one command, 0-based
    uint8_t reserved[112];
};
ASSERT_SIZE(struct nvme_tcp_icreq, 128);
ASSERT_OFFSET(struct nvme_tcp_icreq, maximum_r2t, 12);

struct nvme_tcp_icresp {
    struct nvme_tcp_header header;
    uint16_t version;
    uint8_t data_alignment;  // CPDA
    uint8_t digests;
    uint32_t maximum_h2c_data;
    uint8_t reserved[112];
};
ASSERT_SIZE(struct nvme_tcp_icresp, 128);
ASSERT_OFFSET(struct nvme_tcp_icresp, maximum_h2c_data, 12);

enum {
    NVME_TCP_DIGEST_HEADER = 1 << 0,
    NVME_TCP_DIGEST_DATA = 1 << 1,
};

struct nvme_tcp_term_req {
    struct nvme_tcp_header header;
    uint16_t fatal_error;
    uint16_t information_low;  // FEI, unaligned
    uint16_t information_high;
    uint8_t reserved[10];
};
ASSERT_SIZE(struct nvme_tcp_term_req, 24);

enum {
    NVME_TCP_FES_HEADER_FIELD = 1,
    NVME_TCP_FES_SEQUENCE = 2,
    NVME_TCP_FES_HEADER_DIGEST = 3,
    NVME_TCP_FES_OUT_OF_RANGE = 4,
    NVME_TCP_FES_LIMIT_EXCEEDED = 5,
    NVME_TCP_FES_UNSUPPORTED = 6,
};

// H2CData and C2HData.
struct nvme_tcp_data {
    struct nvme_tcp_header header;
    uint16_t command_id;
    uint16_t transfer_tag;  // H2CData: the R2T's; C2HData: reserved
    uint32_t offset;
    uint32_t length;
    uint32_t reserved;
};
ASSERT_SIZE(struct nvme_tcp_data, 24);
ASSERT_OFFSET(struct nvme_tcp_data, offset, 12);

struct nvme_tcp_r2t {
    struct nvme_tcp_header header;
    uint16_t command_id;
    uint16_t transfer_tag;
    uint32_t offset;
    uint32_t length;
    uint32_t reserved;
};
ASSERT_SIZE(struct nvme_tcp_r2t, 24);
ASSERT_OFFSET(struct nvme_tcp_r2t, offset, 12);

enum {
    NVME_TCP_CAPSULE_CMD_BYTES = 72,   // header and submission queue entry
    NVME_TCP_CAPSULE_RESP_BYTES = 24,  // header and completion queue entry
    NVME_TCP_DATA_BYTES = 24,
    NVME_TCP_IC_BYTES = 128,
    NVME_TCP_TERM_REQ_BYTES = 24,
    NVME_TCP_TERM_REQ_LIMIT = 152,  // with the header that was wrong
};

// SGL descriptors of capsules (Fabrics §4.2, TCP §3.4): data in the capsule, further descriptors in
// it, data in units of their own.
enum {
    NVME_SGL_BYTES = 16,
    NVME_SGL_IN_CAPSULE = 0x01,
    NVME_SGL_LAST_SEGMENT_IN_CAPSULE = 0x31,
    NVME_SGL_TRANSPORT = 0x5A,
};

// --- Fabrics §7.3: NVMe over RDMA ---

// What the connection manager's messages carry for NVMe.
struct nvme_rdma_request {
    uint16_t record_format;
    uint16_t queue_id;
    uint16_t host_receive_entries;  // HRQSIZE
    uint16_t host_send_entries;     // HSQSIZE, 0-based
    uint16_t controller_id;         // of an I/O queue
    uint8_t reserved[22];
};
ASSERT_SIZE(struct nvme_rdma_request, 32);
ASSERT_OFFSET(struct nvme_rdma_request, controller_id, 8);

struct nvme_rdma_accept {
    uint16_t record_format;
    uint16_t controller_receive_entries;  // CRQSIZE
    uint8_t reserved[28];
};
ASSERT_SIZE(struct nvme_rdma_accept, 32);

struct nvme_rdma_reject {
    uint16_t record_format;
    uint16_t status;
};
ASSERT_SIZE(struct nvme_rdma_reject, 4);

enum {
    NVME_RDMA_RECORD_FORMAT = 0,
    NVME_RDMA_INVALID_LENGTH = 1,  // status of a rejection
    NVME_RDMA_INVALID_FORMAT = 2,
    NVME_RDMA_INVALID_QUEUE = 3,
    NVME_RDMA_INVALID_SEND_ENTRIES = 4,
    NVME_RDMA_INVALID_RECEIVE_ENTRIES = 5,
    NVME_RDMA_NO_RESOURCES = 6,
    NVME_RDMA_INVALID_READS_IN = 7,
    NVME_RDMA_INVALID_READS_OUT = 8,
    NVME_RDMA_INVALID_CONTROLLER = 9,

    NVME_SGL_KEYED_LENGTH_BITS = 24,  // of a keyed data block: length, then four bytes of key
};

// --- Fabrics §3: commands ---

enum {
    NVME_FABRICS_OPCODE = 0x7F,
    NVME_FABRICS_PROPERTY_SET = 0x00,  // types
    NVME_FABRICS_CONNECT = 0x01,
    NVME_FABRICS_PROPERTY_GET = 0x04,

    NVME_CONNECT_ANY_CONTROLLER = 0xFFFF,
};

struct nvme_connect_command {
    uint8_t opcode;
    uint8_t flags;
    uint16_t command_id;
    uint8_t type;
    uint8_t reserved5[19];
    struct nvme_sgl_descriptor data;
    uint16_t record_format;
    uint16_t queue_id;
    uint16_t queue_size;  // 0-based
    uint8_t attributes;
    uint8_t reserved47;
    uint32_t keep_alive_milliseconds;
    uint8_t reserved52[12];
};
ASSERT_SIZE(struct nvme_connect_command, 64);
ASSERT_OFFSET(struct nvme_connect_command, data, 24);
ASSERT_OFFSET(struct nvme_connect_command, keep_alive_milliseconds, 48);

struct nvme_connect_data {
    uint8_t host_id[16];
    uint16_t controller_id;
    uint8_t reserved18[238];
    uint8_t subsystem_name[256];
    uint8_t host_name[256];
    uint8_t reserved768[256];
};
ASSERT_SIZE(struct nvme_connect_data, 1024);
ASSERT_OFFSET(struct nvme_connect_data, subsystem_name, 256);
ASSERT_OFFSET(struct nvme_connect_data, host_name, 512);

struct nvme_property_command {
    uint8_t opcode;
    uint8_t flags;
    uint16_t command_id;
    uint8_t type;
    uint8_t reserved5[35];
    uint8_t attributes;  // bits 2:0: 0 for four bytes, 1 for eight
    uint8_t reserved41[3];
    uint32_t offset;
    uint64_t value;  // Set only
    uint8_t reserved56[8];
};
ASSERT_SIZE(struct nvme_property_command, 64);
ASSERT_OFFSET(struct nvme_property_command, attributes, 40);
ASSERT_OFFSET(struct nvme_property_command, value, 48);

// Command specific status codes of Connect (Fabrics §3.3).
enum {
    NVME_SC_CONNECT_FORMAT = 0x80,
    NVME_SC_CONNECT_BUSY = 0x81,
    NVME_SC_CONNECT_PARAMETERS = 0x82,
    NVME_SC_CONNECT_RESTART_DISCOVERY = 0x83,
    NVME_SC_CONNECT_HOST = 0x84,
};

// The result of a Connect refused for its parameters: offset of the first bad field, in the data
// when bit 16 is set.
enum {
    NVME_CONNECT_BAD_CONTROLLER = 1 << 16 | 16,
};

// Identify Controller: Command Quiesce Time in milliseconds (Base 2.1).
enum {
    NVME_IDENTIFY_CQT_OFFSET = 386,
};

// Identify Controller, bytes 1792 to 2047 (Fabrics §4.1).
struct nvme_identify_fabrics {
    uint32_t command_capsule_units;  // IOCCSZ, 16 bytes each
    uint32_t response_capsule_units;
    uint16_t in_capsule_offset_units;
    uint8_t attributes;
    uint8_t maximum_descriptors;
    uint16_t optional_commands;
    uint8_t reserved[242];
};
ASSERT_SIZE(struct nvme_identify_fabrics, 256);

// --- Base §8.1: Asymmetric Namespace Access ---

enum {
    NVME_LOG_ANA = 0x0C,
    NVME_CMIC_ANA = 1 << 3,
    NVME_ANA_OPTIMIZED = 1,
    NVME_ANA_NON_OPTIMIZED = 2,
    NVME_ANA_INACCESSIBLE = 3,
    NVME_ANA_PERSISTENT_LOSS = 4,
    NVME_ANA_CHANGE = 15,
    NVME_OAES_ANA_CHANGE = 1 << 11,

    NVME_SC_ANA_PERSISTENT_LOSS = 0x01,  // path related
    NVME_SC_ANA_INACCESSIBLE = 0x02,
    NVME_SC_ANA_TRANSITION = 0x03,
};

struct nvme_ana_header {
    uint64_t change_count;
    uint16_t group_count;
    uint8_t reserved[6];
};
ASSERT_SIZE(struct nvme_ana_header, 16);

struct nvme_ana_group {
    uint32_t group_id;
    uint32_t namespace_count;
    uint64_t change_count;
    uint8_t state;  // low nibble
    uint8_t reserved[15];
    // Namespace identifiers follow, four bytes each.
};
ASSERT_SIZE(struct nvme_ana_group, 32);

// --- Fabrics: the discovery log page ---

enum {
    NVME_LOG_DISCOVERY = 0x70,
    NVME_LOG_DISCOVERY_ENTRY_BYTES = 1024,  // the header has as many
    NVME_LOG_DISCOVERY_FORMAT = 0,

    NVME_DISCOVERY_TRANSPORT_RDMA = 1,
    NVME_DISCOVERY_TRANSPORT_TCP = 3,
    NVME_DISCOVERY_FAMILY_IPV4 = 1,
    NVME_DISCOVERY_FAMILY_IPV6 = 2,
    NVME_DISCOVERY_REFERRAL = 1,
    NVME_DISCOVERY_SUBSYSTEM = 2,
    NVME_DISCOVERY_CURRENT = 3,
    NVME_DISCOVERY_SECURITY_MASK = 3,  // of the requirements
    NVME_DISCOVERY_SECURITY_REQUIRED = 1,
};
#define NVME_OAES_DISCOVERY_CHANGE (1u << 31)

struct nvme_discovery_header {
    uint64_t generation;
    uint64_t entry_count;
    uint16_t format;
    uint8_t reserved18[1006];
};
ASSERT_SIZE(struct nvme_discovery_header, NVME_LOG_DISCOVERY_ENTRY_BYTES);

struct nvme_discovery_entry {
    uint8_t transport;
    uint8_t family;
    uint8_t kind;
    uint8_t requirements;
    uint16_t port_id;
    uint16_t controller_id;
    uint16_t admin_entries;
    uint16_t flags;
    uint8_t reserved12[20];
    uint8_t service[32];
    uint8_t reserved64[192];
    uint8_t subsystem_name[256];
    uint8_t address[256];
    uint8_t specific[256];
};
ASSERT_SIZE(struct nvme_discovery_entry, NVME_LOG_DISCOVERY_ENTRY_BYTES);
ASSERT_OFFSET(struct nvme_discovery_entry, service, 32);
ASSERT_OFFSET(struct nvme_discovery_entry, subsystem_name, 256);
ASSERT_OFFSET(struct nvme_discovery_entry, address, 512);

#endif
