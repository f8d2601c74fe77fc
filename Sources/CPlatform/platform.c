#define _GNU_SOURCE
#include "platform.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

const char *platform_error_text(int code, char *buffer, size_t length) {
    return strerror_r(code, buffer, length);
}

ssize_t platform_send(int socket, const void *bytes, size_t length, const int *descriptors,
                      size_t count, int flags) {
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int) * PLATFORM_MAX_DESCRIPTORS)];
    } control;
    struct iovec part = {.iov_base = (void *)bytes, .iov_len = length};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (count > PLATFORM_MAX_DESCRIPTORS) {
        errno = EMSGSIZE;
        return -1;
    }
    if (count > 0) {
        memset(&control, 0, sizeof control);
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int) * count);
        memcpy(CMSG_DATA(header), descriptors, sizeof(int) * count);
    }
    return sendmsg(socket, &message, flags | MSG_NOSIGNAL);
}

ssize_t platform_receive(int socket, void *bytes, size_t length, int *descriptors, size_t *count,
                         int flags) {
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int) * PLATFORM_MAX_DESCRIPTORS)];
    } control;
    struct iovec part = {.iov_base = bytes, .iov_len = length};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};
    *count = 0;
    ssize_t received = recvmsg(socket, &message, flags | MSG_CMSG_CLOEXEC);
    if (received < 0) return -1;
    for (struct cmsghdr *h = CMSG_FIRSTHDR(&message); h; h = CMSG_NXTHDR(&message, h)) {
        if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS) continue;
        size_t here = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < here; i++) {
            int descriptor;
            memcpy(&descriptor, CMSG_DATA(h) + i * sizeof(int), sizeof descriptor);
            if (*count < PLATFORM_MAX_DESCRIPTORS)
                descriptors[(*count)++] = descriptor;
            else
                close(descriptor);
        }
    }
    if (message.msg_flags & (MSG_CTRUNC | MSG_TRUNC)) {
        for (size_t i = 0; i < *count; i++) close(descriptors[i]);
        *count = 0;
        errno = EMSGSIZE;
        return -1;
    }
    return received;
}

static int unix_address(const char *path, struct sockaddr_un *address) {
    if (strlen(path) >= sizeof address->sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    strcpy(address->sun_path, path);
    return 0;
}

int platform_unix_bind(int socket, const char *path) {
    struct sockaddr_un address;
    if (unix_address(path, &address) < 0) return -1;
    return bind(socket, (struct sockaddr *)&address, sizeof address);
}

int platform_unix_connect(int socket, const char *path) {
    struct sockaddr_un address;
    if (unix_address(path, &address) < 0) return -1;
    return connect(socket, (struct sockaddr *)&address, sizeof address);
}

int platform_accept(int listener) {
    return accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
}

int platform_memory_file(const char *name, uint64_t size, bool sealed) {
    int descriptor = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (descriptor < 0) return -1;
    int seals = F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL;
    if (ftruncate(descriptor, (off_t)size) < 0 ||
        (sealed && fcntl(descriptor, F_ADD_SEALS, seals) < 0)) {
        int saved = errno;
        close(descriptor);
        errno = saved;
        return -1;
    }
    return descriptor;
}

bool platform_is_shared_memory(int descriptor, uint64_t *size) {
    struct statfs filesystem;
    struct stat file;
    if (fstatfs(descriptor, &filesystem) < 0 || fstat(descriptor, &file) < 0) return false;
    *size = (uint64_t)file.st_size;
    if (!S_ISREG(file.st_mode)) return false;
    return filesystem.f_type == TMPFS_MAGIC || filesystem.f_type == HUGETLBFS_MAGIC;
}

bool platform_cannot_shrink(int descriptor) {
    int seals = fcntl(descriptor, F_GET_SEALS);
    return seals >= 0 && (seals & F_SEAL_SHRINK);
}

ssize_t platform_descriptor_name(int descriptor, char *name, size_t length) {
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor);
    ssize_t count = readlink(path, name, length - 1);
    if (count >= 0) name[count] = 0;
    return count;
}

int platform_populate(void *base, size_t length) {
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
    if (madvise(base, length, MADV_POPULATE_WRITE) == 0) return 0;
    // Before Linux 5.14 pages come at their first access.
    return errno == EINVAL ? 0 : -1;
}

bool platform_is_eventfd(int descriptor) {
    char name[64];
    return platform_descriptor_name(descriptor, name, sizeof name) > 0 &&
           strcmp(name, "anon_inode:[eventfd]") == 0;
}

static int byte_lock(int descriptor, uint64_t byte, short type, int command) {
    struct flock region = {
        .l_type = type, .l_whence = SEEK_SET, .l_start = (off_t)byte, .l_len = 1};
    return fcntl(descriptor, command, &region);
}

int platform_lock_byte(int descriptor, uint64_t byte, bool exclusive) {
    return byte_lock(descriptor, byte, exclusive ? F_WRLCK : F_RDLCK, F_OFD_SETLK);
}

int platform_lock_byte_wait(int descriptor, uint64_t byte) {
    return byte_lock(descriptor, byte, F_WRLCK, F_OFD_SETLKW);
}

int platform_byte_is_locked(int descriptor, uint64_t byte) {
    struct flock region = {
        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)byte, .l_len = 1};
    if (fcntl(descriptor, F_OFD_GETLK, &region) < 0) return -1;
    return region.l_type != F_UNLCK;
}

int platform_open(const char *path, int flags, bool direct, mode_t mode) {
    return open(path, flags | O_CLOEXEC | (direct ? O_DIRECT : 0), mode);
}

int platform_block_geometry(int descriptor, uint64_t *size, uint32_t *block_size) {
    struct stat file;
    if (fstat(descriptor, &file) < 0) return -1;
    if (S_ISREG(file.st_mode)) {
        *size = (uint64_t)file.st_size;
        *block_size = 0;  // a regular file has none of its own
        return 0;
    }
    if (S_ISBLK(file.st_mode)) {
        int logical = 0;
        if (ioctl(descriptor, BLKGETSIZE64, size) < 0 || ioctl(descriptor, BLKSSZGET, &logical) < 0)
            return -1;
        *block_size = (uint32_t)logical;
        return 0;
    }
    errno = S_ISDIR(file.st_mode) ? EISDIR : EINVAL;
    return -1;
}

int platform_discard(int descriptor, uint64_t offset, uint64_t length) {
    return fallocate(descriptor, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
                     (off_t)length);
}

int platform_zero_range(int descriptor, uint64_t offset, uint64_t length) {
    return fallocate(descriptor, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
                     (off_t)length);
}

int platform_direct_alignment(int descriptor, uint32_t *address, uint32_t *length) {
    *address = 512;
    *length = 512;
#ifdef STATX_DIOALIGN
    struct statx file;
    if (statx(descriptor, "", AT_EMPTY_PATH, STATX_DIOALIGN, &file) == 0 &&
        (file.stx_mask & STATX_DIOALIGN) && file.stx_dio_mem_align && file.stx_dio_offset_align) {
        *address = file.stx_dio_mem_align;
        *length = file.stx_dio_offset_align;
        return 0;
    }
#endif
    struct stat kind;
    int logical = 0;
    if (fstat(descriptor, &kind) < 0) return -1;
    if (S_ISBLK(kind.st_mode) && ioctl(descriptor, BLKSSZGET, &logical) == 0 && logical > 512)
        *address = *length = (uint32_t)logical;
    return 0;
}

int platform_set_nonblocking(int descriptor) {
    int flags = fcntl(descriptor, F_GETFL);
    return flags < 0 ? -1 : fcntl(descriptor, F_SETFL, flags | O_NONBLOCK);
}

int platform_pin_thread(int processor) {
    cpu_set_t set;
    CPU_ZERO(&set);
    if (processor < 0 || processor >= CPU_SETSIZE) {
        errno = EINVAL;
        return -1;
    }
    CPU_SET(processor, &set);
    int error = pthread_setaffinity_np(pthread_self(), sizeof set, &set);
    if (error) errno = error;
    return error ? -1 : 0;
}

// The affinity that the process started with; pinning a thread later must not change the answer.
static cpu_set_t processors;
static void read_processors(void) {
    CPU_ZERO(&processors);
    sched_getaffinity(getpid(), sizeof processors, &processors);
}

int platform_processor_is_usable(int processor) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, read_processors);
    return processor >= 0 && processor < CPU_SETSIZE && CPU_ISSET(processor, &processors);
}

void platform_name_thread(const char *name) { pthread_setname_np(pthread_self(), name); }

int platform_thread_id(void) { return (int)syscall(SYS_gettid); }

void platform_exit_now(int code) { _exit(code); }

int platform_epoll_create(void) { return epoll_create1(EPOLL_CLOEXEC); }

int platform_event_create(void) { return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); }

uint64_t platform_event_drain(int event) {
    uint64_t count = 0;
    struct iovec part = {.iov_base = &count, .iov_len = sizeof count};
    // Offset -1: an eventfd has no position. RWF_NOWAIT works on it since Linux 5.12.
    return preadv2(event, &part, 1, -1, RWF_NOWAIT) == sizeof count ? count : 0;
}

int platform_epoll_wait(int epoll, uint64_t *tokens, int capacity, int64_t nanoseconds) {
    struct epoll_event events[64];
    if (capacity > 64) capacity = 64;
    struct timespec limit = {.tv_sec = nanoseconds / 1000000000,
                             .tv_nsec = nanoseconds % 1000000000};
    int count = epoll_pwait2(epoll, events, capacity, nanoseconds < 0 ? NULL : &limit, NULL);
    for (int i = 0; i < count; i++) tokens[i] = events[i].data.u64;
    return count;
}

static int epoll_change(int epoll, int operation, int descriptor, uint32_t events, uint64_t token) {
    uint32_t mask = (events & PLATFORM_READABLE ? EPOLLIN : 0) |
                    (events & PLATFORM_WRITABLE ? EPOLLOUT : 0) |
                    (events & PLATFORM_EDGE ? EPOLLET : 0);
    struct epoll_event event = {.events = mask, .data.u64 = token};
    return epoll_ctl(epoll, operation, descriptor, &event);
}

int platform_epoll_add(int epoll, int descriptor, uint32_t events, uint64_t token) {
    return epoll_change(epoll, EPOLL_CTL_ADD, descriptor, events, token);
}

int platform_epoll_modify(int epoll, int descriptor, uint32_t events, uint64_t token) {
    return epoll_change(epoll, EPOLL_CTL_MOD, descriptor, events, token);
}

int platform_epoll_remove(int epoll, int descriptor) {
    return epoll_change(epoll, EPOLL_CTL_DEL, descriptor, 0, 0);
}

static int signal_event = -1;

static void on_signal(int number) {
    int saved = errno;
    uint64_t one = 1;
    (void)number;
    if (write(signal_event, &one, sizeof one) < 0) {}  // full: told already
    errno = saved;
}

int platform_signal_descriptor(const int *signals, size_t count) {
    if (signal_event < 0) signal_event = platform_event_create();
    if (signal_event < 0) return -1;
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < count; i++)
        if (sigaction(signals[i], &action, NULL) < 0) return -1;
    return dup(signal_event);
}

void platform_ignore_sigpipe(void) { signal(SIGPIPE, SIG_IGN); }
