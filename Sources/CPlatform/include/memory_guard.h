#ifndef SOFTSNAP_MEMORY_GUARD_H
#define SOFTSNAP_MEMORY_GUARD_H

// A peer may shrink a file that we have mapped; the next access raises SIGBUS. The guard maps a
// zero page over the fault and marks the mapping dead, so that one function fails and no other.

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MEMORY_GUARD_CAPACITY = 16384 };

/// Installs the SIGBUS handler (once). A fault outside every watched range stays fatal.
void memory_guard_install(void);
/// Watches [base, base + length). The flag it returns is set to 1 by the first fault in the range
/// and lives until `memory_guard_unwatch`. NULL when MEMORY_GUARD_CAPACITY ranges are watched.
const volatile uint32_t *memory_guard_watch(void *base, size_t length);
void memory_guard_unwatch(const volatile uint32_t *flag);

#endif
