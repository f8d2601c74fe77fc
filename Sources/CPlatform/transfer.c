#define _GNU_SOURCE
#include "platform.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

int platform_peek_offset(int socket, int offset) {
    return setsockopt(socket, SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof offset);
}

int platform_pipe(int ends[2], int byte_count) {
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) return -1;
    // Refused past the user's limit: such a pipe holds less.
    (void)fcntl(ends[1], F_SETPIPE_SZ, byte_count);
    return 0;
}

ssize_t platform_splice(int from, int to, size_t length) {
    return splice(from, NULL, to, NULL, length, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
}

int platform_readable_bytes(int descriptor) {
    int count = 0;
    return ioctl(descriptor, FIONREAD, &count) < 0 ? -1 : count;
}

pid_t platform_spawn_detached(const char *path, char *const arguments[], int descriptor) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);
    // Whoever reads the spawner's output does not wait for this one.
    for (int number = 0; number < 3; number++)
        posix_spawn_file_actions_addopen(&actions, number, "/dev/null", O_RDWR, 0);
    // A duplicate onto itself would keep its close-on-exec flag; the spawner's is never 3.
    posix_spawn_file_actions_adddup2(&actions, descriptor, 3);
    pid_t child;
    int error = posix_spawn(&child, path, &actions, &attributes, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    if (error != 0) {
        errno = error;
        return -1;
    }
    return child;
}

int platform_execute(const char *path, char *const arguments[]) {
    return execve(path, arguments, environ);
}

int platform_reap(pid_t child) { return waitpid(child, NULL, WNOHANG) == child; }
