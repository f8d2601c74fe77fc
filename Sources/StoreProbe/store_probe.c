#define _GNU_SOURCE
#include "store_probe.h"

#if defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define PROBE_IS_EMPTY 1
#endif
#endif
#if !defined(__x86_64__) || !defined(__linux__)
#define PROBE_IS_EMPTY 1
#endif

#ifdef PROBE_IS_EMPTY

bool store_probe_is_available(void) { return false; }
void store_probe_watch(uintptr_t address, size_t byte_count) {}
void store_probe_keep(uintptr_t address, size_t byte_count, uintptr_t image) {}
void store_probe_start(uint64_t moment) {}
bool store_probe_has_cut(void) { return false; }
bool store_probe_stop(void) { return false; }

#else

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

enum { AREAS = 8, TRAP_FLAG = 0x100 };

struct area {
    uintptr_t address;
    size_t byte_count;
    uintptr_t image;
};

// Each thread has its own: the signals are synchronous.
static _Thread_local struct {
    struct area watched[AREAS], kept[AREAS];
    int watched_count, kept_count;
    uint64_t moment, seen;
    bool is_running, has_cut;
} probe __attribute__((tls_model("initial-exec")));

static struct sigaction old_fault, old_trap;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void protect(int flags) {
    for (int i = 0; i < probe.watched_count; i++)
        mprotect((void *)probe.watched[i].address, probe.watched[i].byte_count, flags);
}

static bool is_watched(uintptr_t address) {
    for (int i = 0; i < probe.watched_count; i++)
        if (address - probe.watched[i].address < probe.watched[i].byte_count) return true;
    return false;
}

static void take_images(void) {
    for (int i = 0; i < probe.kept_count; i++)
        memcpy((void *)probe.kept[i].image, (void *)probe.kept[i].address,
               probe.kept[i].byte_count);
    probe.has_cut = true;
}

static void on_fault(int number, siginfo_t *info, void *context) {
    if (!probe.is_running || !is_watched((uintptr_t)info->si_addr)) {
        // Not ours: the store happens again under the old action.
        sigaction(SIGSEGV, &old_fault, NULL);
        return;
    }
    if (probe.seen++ == probe.moment) take_images();
    protect(PROT_READ | PROT_WRITE);
    // What comes after the death is undone, so it need not be watched.
    if (!probe.has_cut) ((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] |= TRAP_FLAG;
}

static void on_trap(int number, siginfo_t *info, void *context) {
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] &= ~(greg_t)TRAP_FLAG;
    if (probe.is_running && !probe.has_cut) {
        protect(PROT_READ);
    } else if (!probe.is_running) {
        sigaction(SIGTRAP, &old_trap, NULL);
    }
}

static void install(void) {
    struct sigaction action = {.sa_flags = SA_SIGINFO};
    action.sa_sigaction = on_fault;
    sigaction(SIGSEGV, &action, &old_fault);
    action.sa_sigaction = on_trap;
    sigaction(SIGTRAP, &action, &old_trap);
}

bool store_probe_is_available(void) { return true; }

void store_probe_watch(uintptr_t address, size_t byte_count) {
    if (probe.watched_count == AREAS) __builtin_trap();
    probe.watched[probe.watched_count++] = (struct area){address, byte_count, 0};
}

void store_probe_keep(uintptr_t address, size_t byte_count, uintptr_t image) {
    if (probe.kept_count == AREAS) __builtin_trap();
    probe.kept[probe.kept_count++] = (struct area){address, byte_count, image};
}

void store_probe_start(uint64_t moment) {
    pthread_once(&once, install);
    probe.moment = moment;
    probe.seen = 0;
    probe.has_cut = false;
    probe.is_running = true;
    protect(PROT_READ);
}

bool store_probe_has_cut(void) { return probe.has_cut; }

bool store_probe_stop(void) {
    protect(PROT_READ | PROT_WRITE);
    bool has_cut = probe.has_cut;
    memset(&probe, 0, sizeof probe);
    return has_cut;
}

#endif
