#ifndef SOFTSNAP_NVME_IDENTIFY_H
#define SOFTSNAP_NVME_IDENTIFY_H

#include "layout.h"

// --- Base §5.17: Identify ---

enum {
    NVME_CNS_NAMESPACE = 0x00,
    NVME_CNS_CONTROLLER = 0x01,
    NVME_CNS_ACTIVE_NAMESPACES = 0x02,
    NVME_CNS_NAMESPACE_DESCRIPTORS = 0x03,
    NVME_CNS_NVM_SET_LIST = 0x04,
    NVME_CNS_ALLOCATED_NAMESPACES = 0x10,
    NVME_CNS_ALLOCATED_NAMESPACE = 0x11,
    NVME_CNS_NAMESPACE_CONTROLLERS = 0x12,
    NVME_CNS_CONTROLLERS = 0x13,
    NVME_CNS_PRIMARY_CAPABILITIES = 0x14,
    NVME_CNS_SECONDARY_CONTROLLERS = 0x15,
    NVME_IDENTIFY_BYTES = 4096,
    NVME_NAMESPACE_LIST_ENTRIES = 1024,
    NVME_NIDT_EUI64 = 1,
    NVME_NIDT_NGUID = 2,
    NVME_NIDT_UUID = 3,
    NVME_NIDT_CSI = 4,
};

struct nvme_power_state {
    uint16_t maximum_power;
    uint8_t reserved0;
    uint8_t flags;
    uint32_t entry_latency;
    uint32_t exit_latency;
    uint8_t relative_read_throughput;
    uint8_t relative_read_latency;
    uint8_t relative_write_throughput;
    uint8_t relative_write_latency;
    uint16_t idle_power;
    uint8_t idle_power_scale;
    uint8_t reserved1;
    uint16_t active_power;
    uint8_t active_power_workload;
    uint8_t reserved2[9];
};
ASSERT_SIZE(struct nvme_power_state, 32);

struct nvme_identify_controller {
    uint16_t vid;
    uint16_t ssvid;
    uint8_t sn[20];
    uint8_t mn[40];
    uint8_t fr[8];
    uint8_t rab;
    uint8_t ieee[3];
    uint8_t cmic;
    uint8_t mdts;
    uint16_t cntlid;
    uint32_t ver;
    uint32_t rtd3r;
    uint32_t rtd3e;
    uint32_t oaes;
    uint32_t ctratt;
    uint16_t rrls;
    uint8_t reserved102[9];
    uint8_t cntrltype;
    uint8_t fguid[16];
    uint16_t crdt1;
    uint16_t crdt2;
    uint16_t crdt3;
    uint8_t reserved134[119];
    uint8_t nvmsr;
    uint8_t vwci;
    uint8_t mec;
    uint16_t oacs;
    uint8_t acl;
    uint8_t aerl;
    uint8_t frmw;
    uint8_t lpa;
    uint8_t elpe;
    uint8_t npss;
    uint8_t avscc;
    uint8_t apsta;
    uint16_t wctemp;
    uint16_t cctemp;
    uint16_t mtfa;
    uint32_t hmpre;
    uint32_t hmmin;
    uint8_t tnvmcap[16];
    uint8_t unvmcap[16];
    uint32_t rpmbs;
    uint16_t edstt;
    uint8_t dsto;
    uint8_t fwug;
    uint16_t kas;
    uint16_t hctma;
    uint16_t mntmt;
    uint16_t mxtmt;
    uint32_t sanicap;
    uint32_t hmminds;
    uint16_t hmmaxd;
    uint16_t nsetidmax;
    uint16_t endgidmax;
    uint8_t anatt;
    uint8_t anacap;
    uint32_t anagrpmax;
    uint32_t nanagrpid;
    uint32_t pels;
    uint8_t reserved356[156];
    uint8_t sqes;
    uint8_t cqes;
    uint16_t maxcmd;
    uint32_t nn;
    uint16_t oncs;
    uint16_t fuses;
    uint8_t fna;
    uint8_t vwc;
    uint16_t awun;
    uint16_t awupf;
    uint8_t nvscc;
    uint8_t nwpc;
    uint16_t acwu;
    uint16_t reserved534;
    uint32_t sgls;
    uint32_t mnan;
    uint8_t reserved544[224];
    uint8_t subnqn[256];
    uint8_t reserved1024[768];
    uint8_t fabrics[256];
    struct nvme_power_state psd[32];
    uint8_t vendor[1024];
};
ASSERT_SIZE(struct nvme_identify_controller, 4096);
ASSERT_OFFSET(struct nvme_identify_controller, rab, 72);
ASSERT_OFFSET(struct nvme_identify_controller, mdts, 77);
ASSERT_OFFSET(struct nvme_identify_controller, ver, 80);
ASSERT_OFFSET(struct nvme_identify_controller, ctratt, 96);
ASSERT_OFFSET(struct nvme_identify_controller, cntrltype, 111);
ASSERT_OFFSET(struct nvme_identify_controller, crdt1, 128);
ASSERT_OFFSET(struct nvme_identify_controller, oacs, 256);
ASSERT_OFFSET(struct nvme_identify_controller, lpa, 261);
ASSERT_OFFSET(struct nvme_identify_controller, wctemp, 266);
ASSERT_OFFSET(struct nvme_identify_controller, tnvmcap, 280);
ASSERT_OFFSET(struct nvme_identify_controller, rpmbs, 312);
ASSERT_OFFSET(struct nvme_identify_controller, kas, 320);
ASSERT_OFFSET(struct nvme_identify_controller, sanicap, 328);
ASSERT_OFFSET(struct nvme_identify_controller, anatt, 342);
ASSERT_OFFSET(struct nvme_identify_controller, pels, 352);
ASSERT_OFFSET(struct nvme_identify_controller, sqes, 512);
ASSERT_OFFSET(struct nvme_identify_controller, nn, 516);
ASSERT_OFFSET(struct nvme_identify_controller, vwc, 525);
ASSERT_OFFSET(struct nvme_identify_controller, acwu, 532);
ASSERT_OFFSET(struct nvme_identify_controller, sgls, 536);
ASSERT_OFFSET(struct nvme_identify_controller, subnqn, 768);
ASSERT_OFFSET(struct nvme_identify_controller, psd, 2048);
ASSERT_OFFSET(struct nvme_identify_controller, vendor, 3072);

enum {
    NVME_CNTRLTYPE_IO = 1,
    NVME_OACS_SECURITY = 1 << 0,
    NVME_OACS_FORMAT = 1 << 1,
    NVME_OACS_FIRMWARE = 1 << 2,
    NVME_OACS_NAMESPACE_MANAGEMENT = 1 << 3,
    NVME_OACS_DOORBELL_BUFFER = 1 << 8,
    NVME_ONCS_COMPARE = 1 << 0,
    NVME_ONCS_WRITE_UNCORRECTABLE = 1 << 1,
    NVME_ONCS_DATASET_MANAGEMENT = 1 << 2,
    NVME_ONCS_WRITE_ZEROES = 1 << 3,
    NVME_ONCS_SAVE_FEATURES = 1 << 4,
    NVME_ONCS_RESERVATIONS = 1 << 5,
    NVME_ONCS_TIMESTAMP = 1 << 6,
    NVME_ONCS_VERIFY = 1 << 7,
    NVME_FUSES_COMPARE_AND_WRITE = 1 << 0,
    NVME_VWC_PRESENT = 1 << 0,
    NVME_VWC_FLUSH_ALL = 3 << 1,  // Flush to FFFFFFFFh is supported
    NVME_LPA_SMART_PER_NAMESPACE = 1 << 0,
    NVME_LPA_COMMANDS_EFFECTS = 1 << 1,
    NVME_LPA_EXTENDED = 1 << 2,
    NVME_OAES_NAMESPACE_ATTRIBUTE = 1 << 8,
    NVME_SGLS_SUPPORTED = 1 << 0,  // no alignment asked for
    NVME_SGLS_LARGER_THAN_DATA = 1 << 18,
    NVME_SGLS_OFFSETS = 1 << 20,  // into the capsule
};

struct nvme_lba_format {
    uint16_t metadata_bytes;
    uint8_t block_shift;
    uint8_t relative_performance;
};
ASSERT_SIZE(struct nvme_lba_format, 4);

struct nvme_identify_namespace {
    uint64_t nsze;
    uint64_t ncap;
    uint64_t nuse;
    uint8_t nsfeat;
    uint8_t nlbaf;
    uint8_t flbas;
    uint8_t mc;
    uint8_t dpc;
    uint8_t dps;
    uint8_t nmic;
    uint8_t rescap;
    uint8_t fpi;
    uint8_t dlfeat;
    uint16_t nawun;
    uint16_t nawupf;
    uint16_t nacwu;
    uint16_t nabsn;
    uint16_t nabo;
    uint16_t nabspf;
    uint16_t noiob;
    uint8_t nvmcap[16];
    uint16_t npwg;
    uint16_t npwa;
    uint16_t npdg;
    uint16_t npda;
    uint16_t nows;
    uint16_t mssrl;
    uint32_t mcl;
    uint8_t msrc;
    uint8_t reserved81[11];
    uint32_t anagrpid;
    uint8_t reserved96[3];
    uint8_t nsattr;
    uint16_t nvmsetid;
    uint16_t endgid;
    uint8_t nguid[16];
    uint8_t eui64[8];
    struct nvme_lba_format lbaf[64];
    uint8_t vendor[3712];
};
ASSERT_SIZE(struct nvme_identify_namespace, 4096);
ASSERT_OFFSET(struct nvme_identify_namespace, nsfeat, 24);
ASSERT_OFFSET(struct nvme_identify_namespace, nawun, 34);
ASSERT_OFFSET(struct nvme_identify_namespace, noiob, 46);
ASSERT_OFFSET(struct nvme_identify_namespace, npwg, 64);
ASSERT_OFFSET(struct nvme_identify_namespace, mssrl, 74);
ASSERT_OFFSET(struct nvme_identify_namespace, anagrpid, 92);
ASSERT_OFFSET(struct nvme_identify_namespace, nsattr, 99);
ASSERT_OFFSET(struct nvme_identify_namespace, nguid, 104);
ASSERT_OFFSET(struct nvme_identify_namespace, eui64, 120);
ASSERT_OFFSET(struct nvme_identify_namespace, lbaf, 128);
ASSERT_OFFSET(struct nvme_identify_namespace, vendor, 384);

enum {
    NVME_NSFEAT_THIN = 1 << 0,
    NVME_NSFEAT_DEALLOCATED_ERROR = 1 << 2,
    NVME_NSFEAT_UID_REUSE = 1 << 3,
    NVME_NSFEAT_OPTIMAL_PERFORMANCE = 1 << 4,
    NVME_NSATTR_WRITE_PROTECTED = 1 << 0,
    NVME_NMIC_SHARED = 1 << 0,
    NVME_DLFEAT_READS_ZEROES = 1,
    NVME_DLFEAT_WRITE_ZEROES_DEALLOCATES = 1 << 3,
};

// --- Base §5.16: log pages ---

enum {
    NVME_LOG_SUPPORTED_PAGES = 0x00,
    NVME_LOG_ERROR = 0x01,
    NVME_LOG_SMART = 0x02,
    NVME_LOG_FIRMWARE_SLOT = 0x03,
    NVME_LOG_CHANGED_NAMESPACES = 0x04,
    NVME_LOG_COMMANDS_EFFECTS = 0x05,
};

struct nvme_error_log_entry {
    uint64_t error_count;
    uint16_t submission_queue;
    uint16_t command_id;
    uint16_t status;  // with the phase tag's place at bit 0
    uint16_t parameter_location;
    uint64_t block;
    uint32_t namespace_id;
    uint8_t vendor_log;
    uint8_t transport_type;
    uint8_t reserved30[2];
    uint64_t command_specific;
    uint16_t transport_specific;
    uint8_t reserved42[22];
};
ASSERT_SIZE(struct nvme_error_log_entry, 64);
ASSERT_OFFSET(struct nvme_error_log_entry, block, 16);
ASSERT_OFFSET(struct nvme_error_log_entry, command_specific, 32);

struct nvme_smart_log {
    uint8_t critical_warning;
    uint8_t temperature[2];
    uint8_t available_spare;
    uint8_t available_spare_threshold;
    uint8_t percentage_used;
    uint8_t endurance_warning;
    uint8_t reserved7[25];
    uint64_t data_units_read[2];  // 16-byte counters, low word first
    uint64_t data_units_written[2];
    uint64_t host_reads[2];
    uint64_t host_writes[2];
    uint64_t controller_busy_minutes[2];
    uint64_t power_cycles[2];
    uint64_t power_on_hours[2];
    uint64_t unsafe_shutdowns[2];
    uint64_t media_errors[2];
    uint64_t error_log_entries[2];
    uint32_t warning_temperature_minutes;
    uint32_t critical_temperature_minutes;
    uint16_t temperature_sensors[8];
    uint32_t thermal_transitions[2];
    uint32_t thermal_seconds[2];
    uint8_t reserved232[280];
};
ASSERT_SIZE(struct nvme_smart_log, 512);
ASSERT_OFFSET(struct nvme_smart_log, data_units_read, 32);
ASSERT_OFFSET(struct nvme_smart_log, error_log_entries, 176);
ASSERT_OFFSET(struct nvme_smart_log, temperature_sensors, 200);
ASSERT_OFFSET(struct nvme_smart_log, reserved232, 232);

struct nvme_firmware_slot_log {
    uint8_t active_slot;
    uint8_t reserved1[7];
    uint8_t revisions[56];  // seven slots of eight characters
    uint8_t reserved64[448];
};
ASSERT_SIZE(struct nvme_firmware_slot_log, 512);

struct nvme_changed_namespaces_log {
    uint32_t namespace_ids[1024];
};
ASSERT_SIZE(struct nvme_changed_namespaces_log, 4096);

struct nvme_commands_effects_log {
    uint32_t admin[256];
    uint32_t io[256];
    uint8_t reserved2048[2048];
};
ASSERT_SIZE(struct nvme_commands_effects_log, 4096);

enum {
    NVME_EFFECT_SUPPORTED = 1 << 0,
    NVME_EFFECT_CONTENT_CHANGE = 1 << 1,
    NVME_EFFECT_NAMESPACE_CAPABILITY = 1 << 2,
    NVME_EFFECT_NAMESPACE_INVENTORY = 1 << 3,
    NVME_EFFECT_CONTROLLER_CAPABILITY = 1 << 4,
};

// --- Base §5.27: features; §5.2: asynchronous events ---

enum {
    NVME_FEATURE_ARBITRATION = 0x01,
    NVME_FEATURE_POWER_MANAGEMENT = 0x02,
    NVME_FEATURE_LBA_RANGE_TYPE = 0x03,
    NVME_FEATURE_TEMPERATURE_THRESHOLD = 0x04,
    NVME_FEATURE_ERROR_RECOVERY = 0x05,
    NVME_FEATURE_VOLATILE_WRITE_CACHE = 0x06,
    NVME_FEATURE_NUMBER_OF_QUEUES = 0x07,
    NVME_FEATURE_INTERRUPT_COALESCING = 0x08,
    NVME_FEATURE_INTERRUPT_VECTOR = 0x09,
    NVME_FEATURE_WRITE_ATOMICITY = 0x0A,
    NVME_FEATURE_ASYNC_EVENTS = 0x0B,
    NVME_FEATURE_AUTONOMOUS_POWER = 0x0C,
    NVME_FEATURE_HOST_MEMORY_BUFFER = 0x0D,
    NVME_FEATURE_TIMESTAMP = 0x0E,
    NVME_FEATURE_KEEP_ALIVE = 0x0F,
    NVME_FEATURE_HOST_BEHAVIOR = 0x16,
    NVME_FEATURE_SOFTWARE_PROGRESS = 0x80,
    NVME_FEATURE_HOST_IDENTIFIER = 0x81,
    NVME_FEATURE_NAMESPACE_WRITE_PROTECTION = 0x84,

    NVME_AER_ERROR = 0,
    NVME_AER_HEALTH = 1,
    NVME_AER_NOTICE = 2,
    NVME_AER_IO_COMMAND_SET = 6,
    NVME_AER_ERROR_INVALID_DOORBELL_REGISTER = 0,
    NVME_AER_ERROR_INVALID_DOORBELL_VALUE = 1,
    NVME_AER_ERROR_DIAGNOSTIC_FAILURE = 2,
    NVME_AER_ERROR_PERSISTENT_INTERNAL = 3,
    NVME_AER_ERROR_TRANSIENT_INTERNAL = 4,
    NVME_AER_NOTICE_NAMESPACE_CHANGED = 0,
    NVME_AER_NOTICE_FIRMWARE_ACTIVATION = 1,
};

#endif
