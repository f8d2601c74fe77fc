#ifndef SOFTSNAP_HOSTILE_DESCRIPTORS_H
#define SOFTSNAP_HOSTILE_DESCRIPTORS_H

#include <stdbool.h>

// Descriptors that only a hostile front end hands over. For tests.

/// A blocking eventfd whose counter is full: the next write to it sleeps. -1 on failure.
int hostile_full_event(void);
/// The reading end of a pipe. -1 on failure.
int hostile_pipe(void);
/// Whether a file may be cut short under a mapping here: the handler of SIGBUS deadlocks with the
/// thread sanitizer's own locks.
bool hostile_may_truncate(void);

#endif
