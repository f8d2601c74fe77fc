#ifndef SOFTSNAP_PLATFORM_H
#define SOFTSNAP_PLATFORM_H

// What the C library keeps in macros, variadic functions or inline assembly, as plain functions.
// Every call returns -1 and sets errno on failure unless it says otherwise.

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// --- errors ---

/// Text of `code` in the C locale, in `buffer` or static.
const char *platform_error_text(int code, char *buffer, size_t length);

// --- descriptors over Unix sockets (unix(7), SCM_RIGHTS) ---

enum { PLATFORM_MAX_DESCRIPTORS = 128 };

/// Sends `length` bytes with `count` descriptors attached to the first. Never raises SIGPIPE.
ssize_t platform_send(int socket, const void *bytes, size_t length, const int *descriptors,
                      size_t count, int flags);

/// Receives up to `length` bytes and up to PLATFORM_MAX_DESCRIPTORS close-on-exec descriptors.
/// More than that, or a truncated control message: all are closed and errno is EMSGSIZE.
ssize_t platform_receive(int socket, void *bytes, size_t length, int *descriptors, size_t *count,
                         int flags);

/// Binds (or connects) a Unix socket of `type` to `path`. ENAMETOOLONG when the path does not fit.
int platform_unix_bind(int socket, const char *path);
int platform_unix_connect(int socket, const char *path);

/// The next connection, non-blocking and close-on-exec.
int platform_accept(int listener);

/// Where the next MSG_PEEK of a stream socket begins; -1: at its head, for ever.
int platform_peek_offset(int socket, int offset);

// --- pipes (splice(2)): what the kernel has moved is what they hold ---

/// A non-blocking, close-on-exec pipe for `byte_count` bytes.
int platform_pipe(int ends[2], int byte_count);
/// Moves up to `length` bytes between a pipe and a socket; never waits.
ssize_t platform_splice(int from, int to, size_t length);
int platform_readable_bytes(int descriptor);

// --- memory files ---

int platform_memory_file(const char *name, uint64_t size, bool sealed);
/// Whether `descriptor` is a memfd, tmpfs or hugetlbfs file; its size goes to `size`.
bool platform_is_shared_memory(int descriptor, uint64_t *size);
/// Whether the file cannot shrink any more (F_SEAL_SHRINK).
bool platform_cannot_shrink(int descriptor);
/// Makes every page of a mapping present and writable now, instead of at its first access.
int platform_populate(void *base, size_t length);
bool platform_is_eventfd(int descriptor);
/// Name of a descriptor in /proc/self/fd, for error messages ("pipe:[123]").
ssize_t platform_descriptor_name(int descriptor, char *name, size_t length);

// --- open file description locks (fcntl(2), F_OFD_SETLK) ---

int platform_lock_byte(int descriptor, uint64_t byte, bool exclusive);
int platform_lock_byte_wait(int descriptor, uint64_t byte);
/// 1 when another open file description holds a lock on `byte`, 0 when none does.
int platform_byte_is_locked(int descriptor, uint64_t byte);

// --- files ---

int platform_open(const char *path, int flags, bool direct, mode_t mode);
/// Size in bytes and logical block size of a regular file or block device; EINVAL for others.
int platform_block_geometry(int descriptor, uint64_t *size, uint32_t *block_size);
/// What direct I/O asks of memory addresses, and of offsets and lengths (powers of two).
int platform_direct_alignment(int descriptor, uint32_t *address, uint32_t *length);
/// Give the bytes back to the file system, or zero them in place; both read as zeros then.
int platform_discard(int descriptor, uint64_t offset, uint64_t length);
int platform_zero_range(int descriptor, uint64_t offset, uint64_t length);
int platform_set_nonblocking(int descriptor);

// --- child processes ---

/// Runs `path` with `arguments` (the last is NULL) and no standard input; what it writes to its
/// standard output and error goes to `buffer`. Returns the count of bytes after at most
/// `milliseconds`; the child has ended by then.
ssize_t platform_child_output(const char *path, char *const arguments[], char *buffer,
                              size_t capacity, int milliseconds);

// Starts `path` with one end of a stream socket as its standard input and output. The other end,
// or -1; the child ends by itself when that is closed.
int platform_child_connect(const char *path, char *const arguments[]);
/// Starts `path` in a session of its own, with `descriptor` (not 3) as its descriptor 3.
pid_t platform_spawn_detached(const char *path, char *const arguments[], int descriptor);
/// Puts the program at `path` in the place of this one. Returns only on failure.
int platform_execute(const char *path, char *const arguments[]);
/// Whether `child` has ended and is forgotten now.
int platform_reap(pid_t child);

// --- threads, processors, time ---

/// Pins the calling thread to `processor`.
int platform_pin_thread(int processor);
int platform_processor_is_usable(int processor);
void platform_name_thread(const char *name);
int platform_thread_id(void);
void platform_exit_now(int code) __attribute__((noreturn));

enum { PLATFORM_READABLE = 1, PLATFORM_WRITABLE = 2, PLATFORM_EDGE = 4 };
int platform_epoll_create(void);
int platform_event_create(void);
/// Takes the count of an eventfd, 0 when there is none; never waits, whatever its flags.
uint64_t platform_event_drain(int event);
/// Sleeps for up to `nanoseconds` (negative: for ever); `events` below are PLATFORM_ bits.
int platform_epoll_wait(int epoll, uint64_t *tokens, int capacity, int64_t nanoseconds);
int platform_epoll_add(int epoll, int descriptor, uint32_t events, uint64_t token);
int platform_epoll_modify(int epoll, int descriptor, uint32_t events, uint64_t token);
int platform_epoll_remove(int epoll, int descriptor);

/// Has `signals` counted by an eventfd, which is returned, instead of ending the process.
int platform_signal_descriptor(const int *signals, size_t count);
void platform_ignore_sigpipe(void);

static inline uint64_t platform_ticks(void) {
#if defined(__x86_64__)
    return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
    uint64_t ticks;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(ticks));
    return ticks;
#else
#error "no tick counter for this processor"
#endif
}

static inline void platform_prefetch(const void *address) { __builtin_prefetch(address, 0, 2); }

static inline void platform_relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

#endif
