#ifndef SOFTSNAP_STORE_PROBE_H
#define SOFTSNAP_STORE_PROBE_H

// Stops the calling thread in front of one of its stores into watched memory and takes an image of
// other memory there: what a process leaves that dies between two stores. Linked into test bundles
// only. x86-64 Linux; elsewhere, and under sanitizers, it is not available.

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool store_probe_is_available(void);
/// Whole pages at `address`, whose stores count. At most 8 areas.
void store_probe_watch(uintptr_t address, size_t byte_count);
/// Bytes at `address` that are copied to `image` at the chosen store. At most 8 areas.
void store_probe_keep(uintptr_t address, size_t byte_count, uintptr_t image);
/// From now on stores count; the images are taken in front of store number `moment`, from 0.
void store_probe_start(uint64_t moment);
/// Whether the images were taken since `start`; false after `stop`.
bool store_probe_has_cut(void);
/// Ends it and forgets all areas. Returns whether the images were taken.
bool store_probe_stop(void);

#endif
