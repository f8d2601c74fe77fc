#ifndef SOFTSNAP_HOSTILE_DESCRIPTORS_H
#define SOFTSNAP_HOSTILE_DESCRIPTORS_H

// Descriptors that only a hostile front end hands over. For tests.

/// A blocking eventfd whose counter is full: the next write to it sleeps. -1 on failure.
int hostile_full_event(void);
/// The reading end of a pipe. -1 on failure.
int hostile_pipe(void);

#endif
