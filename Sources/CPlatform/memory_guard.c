#define _GNU_SOURCE
#include "memory_guard.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

struct range {
    _Atomic uintptr_t base;  // 0: free
    _Atomic size_t length;
    volatile uint32_t dead;
};

static struct range ranges[MEMORY_GUARD_CAPACITY];
static _Atomic size_t used;  // entries at or past this one have never been watched
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct sigaction previous;
static bool installed;

static void on_bus_error(int number, siginfo_t *info, void *context) {
    uintptr_t address = (uintptr_t)info->si_addr;
    size_t count = atomic_load(&used);
    for (size_t i = 0; i < count; i++) {
        uintptr_t base = atomic_load_explicit(&ranges[i].base, memory_order_acquire);
        if (base == 0 || address < base || address - base >= atomic_load(&ranges[i].length))
            continue;
        // The rest of the range is as gone as this page: cover it all, so one fault is enough.
        int saved = errno;
        uintptr_t page = address & ~((uintptr_t)sysconf(_SC_PAGESIZE) - 1);
        size_t rest = atomic_load(&ranges[i].length) - (page - base);
        void *cover = mmap((void *)page, rest, PROT_READ | PROT_WRITE,
                           MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        errno = saved;
        if (cover == MAP_FAILED) break;
        ranges[i].dead = 1;
        return;
    }
    // Not ours: let the previous disposition have it when the access is repeated.
    sigaction(SIGBUS, &previous, NULL);
    (void)number;
    (void)context;
}

void memory_guard_install(void) {
    pthread_mutex_lock(&lock);
    if (!installed) {
        struct sigaction action = {.sa_sigaction = on_bus_error,
                                   .sa_flags = SA_SIGINFO | SA_ONSTACK};
        sigemptyset(&action.sa_mask);
        installed = sigaction(SIGBUS, &action, &previous) == 0;
    }
    pthread_mutex_unlock(&lock);
}

const volatile uint32_t *memory_guard_watch(void *base, size_t length) {
    const volatile uint32_t *flag = NULL;
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < MEMORY_GUARD_CAPACITY && !flag; i++) {
        if (atomic_load(&ranges[i].base) != 0) continue;
        ranges[i].dead = 0;
        atomic_store(&ranges[i].length, length);
        atomic_store_explicit(&ranges[i].base, (uintptr_t)base, memory_order_release);
        if (i >= atomic_load(&used)) atomic_store(&used, i + 1);
        flag = &ranges[i].dead;
    }
    pthread_mutex_unlock(&lock);
    return flag;
}

void memory_guard_unwatch(const volatile uint32_t *flag) {
    pthread_mutex_lock(&lock);
    struct range *range = (struct range *)((char *)(uintptr_t)flag - offsetof(struct range, dead));
    atomic_store(&range->base, 0);
    pthread_mutex_unlock(&lock);
}
