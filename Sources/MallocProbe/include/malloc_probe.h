#ifndef SOFTSNAP_MALLOC_PROBE_H
#define SOFTSNAP_MALLOC_PROBE_H

// Counts the calling thread's allocations. Linked into test bundles only: it takes the place of
// malloc and its relatives, and is empty under sanitizers, which do so themselves.

#include <stdbool.h>
#include <stdint.h>

/// Whether allocations are counted in this process.
bool malloc_probe_is_active(void);
/// Allocations that the calling thread has made since it started; 0 when not active.
uint64_t malloc_probe_count(void);

#endif
