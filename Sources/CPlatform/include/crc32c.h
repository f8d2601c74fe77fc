#ifndef SOFTSNAP_CRC32C_H
#define SOFTSNAP_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/// CRC-32C (RFC 3720 B.4) of what `state` stands for and then `bytes`. A digest starts from
/// 0xFFFFFFFF and is the complement of the last state. By the processor's instruction where there
/// is one.
uint32_t crc32c_update(uint32_t state, const void *bytes, size_t length);
/// The same, by table, on every processor.
uint32_t crc32c_update_by_table(uint32_t state, const void *bytes, size_t length);

#endif
