#ifndef SOFTSNAP_PCI_H
#define SOFTSNAP_PCI_H

#include "layout.h"

// PCI Local Bus 3.0 §6.1: configuration space of a header of type 0
struct pci_header {
    uint16_t vendor_id;
    uint16_t device_id;
    uint16_t command;
    uint16_t status;
    uint8_t revision_id;
    uint8_t class_code[3];  // programming interface, subclass, base class
    uint8_t cache_line_size;
    uint8_t latency_timer;
    uint8_t header_type;
    uint8_t self_test;
    uint32_t base_addresses[6];
    uint32_t cardbus_pointer;
    uint16_t subsystem_vendor_id;
    uint16_t subsystem_id;
    uint32_t expansion_rom;
    uint8_t capabilities;
    uint8_t reserved[7];
    uint8_t interrupt_line;
    uint8_t interrupt_pin;
    uint8_t min_grant;
    uint8_t max_latency;
};
ASSERT_SIZE(struct pci_header, 64);
ASSERT_OFFSET(struct pci_header, base_addresses, 0x10);
ASSERT_OFFSET(struct pci_header, subsystem_vendor_id, 0x2C);
ASSERT_OFFSET(struct pci_header, capabilities, 0x34);
ASSERT_OFFSET(struct pci_header, interrupt_line, 0x3C);

enum {
    PCI_CONFIGURATION_BYTES = 256,
    PCI_EXPRESS_CONFIGURATION_BYTES = 4096,

    PCI_COMMAND_MEMORY_SPACE = 1 << 1,
    PCI_COMMAND_BUS_MASTER = 1 << 2,
    PCI_COMMAND_PARITY = 1 << 6,
    PCI_COMMAND_SYSTEM_ERROR = 1 << 8,
    PCI_COMMAND_INTERRUPT_DISABLE = 1 << 10,
    PCI_STATUS_CAPABILITIES = 1 << 4,

    PCI_BAR_MEMORY_64 = 0x4,
    PCI_BAR_FLAGS = 0xF,
    PCI_BAR_COUNT = 6,

    PCI_CAPABILITY_POWER = 0x01,
    PCI_CAPABILITY_VENDOR = 0x09,
    PCI_CAPABILITY_EXPRESS = 0x10,
    PCI_CAPABILITY_MSIX = 0x11,
};

// PCI Bus Power Management Interface 1.2 §3.2
struct pci_power_capability {
    uint8_t id;
    uint8_t next;
    uint16_t capabilities;
    uint16_t control;
    uint8_t bridge_extensions;
    uint8_t data;
};
ASSERT_SIZE(struct pci_power_capability, 8);

enum {
    PCI_POWER_VERSION = 3,
    PCI_POWER_STATE_MASK = 3,
    PCI_POWER_D0 = 0,
    PCI_POWER_D3_HOT = 3,
};

// PCI Local Bus 3.0 §6.8.2
struct pci_msix_capability {
    uint8_t id;
    uint8_t next;
    uint16_t control;  // table size minus one; bit 14: all masked, bit 15: enabled
    uint32_t table;    // offset, with the BAR in the three low bits
    uint32_t pending;
};
ASSERT_SIZE(struct pci_msix_capability, 12);

enum {
    PCI_MSIX_MASK_ALL = 1 << 14,
    PCI_MSIX_ENABLE = 1 << 15,
    PCI_MSIX_VECTOR_LIMIT = 2048,
};

struct pci_msix_vector {
    uint64_t address;
    uint32_t data;
    uint32_t control;
};
ASSERT_SIZE(struct pci_msix_vector, 16);

// PCI Express Base 4.0 §7.5.3, an endpoint's; the slot and root registers read 0
struct pci_express_capability {
    uint8_t id;
    uint8_t next;
    uint16_t flags;
    uint32_t device_capabilities;
    uint16_t device_control;
    uint16_t device_status;
    uint32_t link_capabilities;
    uint16_t link_control;
    uint16_t link_status;
    uint32_t slot_and_root[4];
    uint32_t device_capabilities2;
    uint16_t device_control2;
    uint16_t device_status2;
    uint32_t link_capabilities2;
    uint16_t link_control2;
    uint16_t link_status2;
    uint32_t slot2[2];
};
ASSERT_SIZE(struct pci_express_capability, 60);
ASSERT_OFFSET(struct pci_express_capability, device_control, 0x08);
ASSERT_OFFSET(struct pci_express_capability, link_control, 0x10);
ASSERT_OFFSET(struct pci_express_capability, device_capabilities2, 0x24);
ASSERT_OFFSET(struct pci_express_capability, link_capabilities2, 0x2C);

enum {
    PCI_EXPRESS_VERSION = 2,  // and device type 0, an endpoint
    PCI_EXPRESS_ROLE_BASED_ERRORS = 1 << 15,
    PCI_EXPRESS_FUNCTION_LEVEL_RESET = 1 << 28,
    PCI_EXPRESS_INITIATE_RESET = 1 << 15,
    // Relaxed ordering and no snoop allowed, reads of at most 512 bytes
    PCI_EXPRESS_DEVICE_CONTROL_RESET = 0x2810,
    PCI_EXPRESS_DEVICE_CONTROL_MASK = 0x791F,  // not payload size: only 128 bytes
    PCI_EXPRESS_LINK_CONTROL_MASK = 0x00CB,
    PCI_EXPRESS_LINK = 0x43,         // four lanes of 8 GT/s
    PCI_EXPRESS_LINK_SPEEDS = 0x0E,  // 2.5, 5 and 8 GT/s
};

#endif
