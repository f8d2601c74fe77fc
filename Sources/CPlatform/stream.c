#define _GNU_SOURCE
#include "stream.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

/// Length of the socket address, or 0 for text that is no address.
static socklen_t parse(const char *text, uint16_t port, union address *parsed) {
    memset(parsed, 0, sizeof *parsed);
    if (inet_pton(AF_INET, text, &parsed->v4.sin_addr) == 1) {
        parsed->v4.sin_family = AF_INET;
        parsed->v4.sin_port = htons(port);
        return sizeof parsed->v4;
    }
    if (inet_pton(AF_INET6, text, &parsed->v6.sin6_addr) == 1) {
        parsed->v6.sin6_family = AF_INET6;
        parsed->v6.sin6_port = htons(port);
        return sizeof parsed->v6;
    }
    errno = EINVAL;
    return 0;
}

int platform_address_family(const char *address) {
    union address parsed;
    return parse(address, 0, &parsed) == 0 ? -1 : parsed.any.sa_family;
}

static int give_up(int descriptor) {
    int code = errno;
    close(descriptor);
    errno = code;
    return -1;
}

int platform_tcp_connect(const char *address, uint16_t port, const char *local) {
    union address far, near;
    socklen_t length = parse(address, port, &far);
    socklen_t near_length = local ? parse(local, 0, &near) : 0;
    if (length == 0 || (local && near_length == 0)) return -1;
    int descriptor =
        socket(far.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP);
    if (descriptor < 0) return -1;
    int one = 1;
    setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (local && bind(descriptor, &near.any, near_length) < 0) return give_up(descriptor);
    if (connect(descriptor, &far.any, length) < 0 && errno != EINPROGRESS)
        return give_up(descriptor);
    return descriptor;
}

int platform_tcp_error(int socket) {
    int code = 0;
    socklen_t length = sizeof code;
    if (getsockopt(socket, SOL_SOCKET, SO_ERROR, &code, &length) < 0) return errno;
    return code;
}

int platform_tcp_listen(const char *address, uint16_t port) {
    union address near;
    socklen_t length = parse(address, port, &near);
    if (length == 0) return -1;
    int descriptor =
        socket(near.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP);
    if (descriptor < 0) return -1;
    int one = 1;
    setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(descriptor, &near.any, length) < 0 || listen(descriptor, 128) < 0)
        return give_up(descriptor);
    return descriptor;
}

int platform_tcp_port(int socket) {
    union address near;
    socklen_t length = sizeof near;
    if (getsockname(socket, &near.any, &length) < 0) return -1;
    return ntohs(near.any.sa_family == AF_INET ? near.v4.sin_port : near.v6.sin6_port);
}

ssize_t platform_stream_send(int socket, const struct iovec *places, size_t count) {
    struct msghdr message = {.msg_iov = (struct iovec *)places, .msg_iovlen = count};
    return sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

ssize_t platform_stream_receive(int socket, const struct iovec *places, size_t count) {
    struct msghdr message = {.msg_iov = (struct iovec *)places, .msg_iovlen = count};
    return recvmsg(socket, &message, MSG_DONTWAIT);
}
