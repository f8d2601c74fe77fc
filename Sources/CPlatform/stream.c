#define _GNU_SOURCE
#include "stream.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/errqueue.h>
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

static int set_buffer(int socket, int which, int size) {
    return size == 0 ? 0 : setsockopt(socket, SOL_SOCKET, which, &size, sizeof size);
}

int platform_tcp_connect(const char *address, uint16_t port, const char *local,
                         struct platform_tcp_options options) {
    union address far, near;
    socklen_t length = parse(address, port, &far);
    socklen_t near_length = local ? parse(local, 0, &near) : 0;
    if (length == 0 || (local && near_length == 0)) return -1;
    int descriptor =
        socket(far.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP);
    if (descriptor < 0) return -1;
    int one = 1;
    setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    // What has not been sent when it is closed, or its process dies, is thrown away, and the peer
    // hears at once: nothing of it is carried out late.
    struct linger none = {.l_onoff = 1, .l_linger = 0};
    setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    // Before the connection: the window's scale is settled with it.
    if (set_buffer(descriptor, SO_RCVBUF, options.receive_bytes) < 0 ||
        set_buffer(descriptor, SO_SNDBUF, options.send_bytes) < 0)
        return give_up(descriptor);
    if (local && bind(descriptor, &near.any, near_length) < 0) return give_up(descriptor);
    if (connect(descriptor, &far.any, length) < 0 && errno != EINPROGRESS)
        return give_up(descriptor);
    return descriptor;
}

int platform_tcp_buffers(int socket, struct platform_tcp_options *found) {
    socklen_t length = sizeof(int);
    if (getsockopt(socket, SOL_SOCKET, SO_RCVBUF, &found->receive_bytes, &length) < 0) return -1;
    return getsockopt(socket, SOL_SOCKET, SO_SNDBUF, &found->send_bytes, &length);
}

int platform_tcp_acknowledge(int socket) {
    int one = 1;
    return setsockopt(socket, IPPROTO_TCP, TCP_QUICKACK, &one, sizeof one);
}

int platform_tcp_acknowledges(int socket) {
    int is_quick = 0;
    socklen_t length = sizeof is_quick;
    if (getsockopt(socket, IPPROTO_TCP, TCP_QUICKACK, &is_quick, &length) < 0) return -1;
    return is_quick;
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

int platform_tcp_keep(int socket, int seconds) {
    int one = 1, interval = 1, milliseconds = seconds * 1000;
    int probes = seconds > 1 ? seconds - 1 : 1;
    if (setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) < 0 ||
        setsockopt(socket, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one) < 0 ||
        setsockopt(socket, IPPROTO_TCP, TCP_KEEPIDLE, &interval, sizeof interval) < 0 ||
        setsockopt(socket, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval) < 0 ||
        setsockopt(socket, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes) < 0)
        return -1;
    return setsockopt(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, &milliseconds, sizeof milliseconds);
}

int platform_tcp_port(int socket) {
    union address near;
    socklen_t length = sizeof near;
    if (getsockname(socket, &near.any, &length) < 0) return -1;
    return ntohs(near.any.sa_family == AF_INET ? near.v4.sin_port : near.v6.sin6_port);
}

static ssize_t send_places(int socket, const struct iovec *places, size_t count, int flags) {
    struct msghdr message = {.msg_iov = (struct iovec *)places, .msg_iovlen = count};
    return sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT | flags);
}

ssize_t platform_stream_send(int socket, const struct iovec *places, size_t count, int has_more) {
    return send_places(socket, places, count, has_more ? MSG_MORE : 0);
}

int platform_stream_allow_pins(int socket) {
    int one = 1;
    return setsockopt(socket, SOL_SOCKET, SO_ZEROCOPY, &one, sizeof one);
}

ssize_t platform_stream_send_pinned(int socket, const struct iovec *places, size_t count,
                                    int has_more) {
    return send_places(socket, places, count, MSG_ZEROCOPY | (has_more ? MSG_MORE : 0));
}

/// Whether `error` is the notice of pinned sends, which goes to `notice`.
static int read_notice(const struct sock_extended_err *error, struct platform_notice *notice) {
    if (error->ee_origin != SO_EE_ORIGIN_ZEROCOPY || error->ee_errno != 0) return 0;
    notice->first = error->ee_info;
    notice->last = error->ee_data;
    notice->is_copied = (error->ee_code & SO_EE_CODE_ZEROCOPY_COPIED) != 0;
    return 1;
}

int platform_stream_take_notice(int socket, struct platform_notice *notice) {
    // Room for an error and the address of who reported it.
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(struct sock_extended_err) + sizeof(struct sockaddr_in6))];
    } control;
    while (1) {
        struct msghdr message = {.msg_control = control.bytes,
                                 .msg_controllen = sizeof control.bytes};
        if (recvmsg(socket, &message, MSG_ERRQUEUE | MSG_DONTWAIT) < 0) return 0;
        struct cmsghdr *found = CMSG_FIRSTHDR(&message);
        for (; found; found = CMSG_NXTHDR(&message, found)) {
            int is_error = (found->cmsg_level == SOL_IP && found->cmsg_type == IP_RECVERR) ||
                           (found->cmsg_level == SOL_IPV6 && found->cmsg_type == IPV6_RECVERR);
            struct sock_extended_err error;
            if (!is_error || found->cmsg_len < CMSG_LEN(sizeof error)) continue;
            memcpy(&error, CMSG_DATA(found), sizeof error);
            if (read_notice(&error, notice)) return 1;
        }
    }
}

ssize_t platform_stream_receive(int socket, const struct iovec *places, size_t count) {
    struct msghdr message = {.msg_iov = (struct iovec *)places, .msg_iovlen = count};
    return recvmsg(socket, &message, MSG_DONTWAIT);
}
