#ifndef SOFTSNAP_STREAM_H
#define SOFTSNAP_STREAM_H

// TCP sockets. Every call returns -1 and sets errno on failure.

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

/// AF_INET, AF_INET6, or -1 for text that is no numeric address.
int platform_address_family(const char *address);
/// Bytes of a socket's buffers, which the kernel doubles and bounds; 0 leaves it to the kernel.
struct platform_tcp_options {
    int receive_bytes;
    int send_bytes;
};

/// Starts a connection of a non-blocking, close-on-exec socket without Nagle's delay to a numeric
/// IPv4 or IPv6 address (EINVAL for a name), from `local` unless that is NULL. It may still be
/// under way: wait until the socket is writable and ask `platform_tcp_error`.
int platform_tcp_connect(const char *address, uint16_t port, const char *local,
                         struct platform_tcp_options options);
/// The sizes of a socket's buffers as the kernel has them.
int platform_tcp_buffers(int socket, struct platform_tcp_options *found);
/// Acknowledges what has come at once, and goes on so until the kernel thinks otherwise.
int platform_tcp_acknowledge(int socket);
/// 1 while the kernel acknowledges at once, 0 while it waits for data to send along.
int platform_tcp_acknowledges(int socket);
/// What has become of a connection: 0, or its errno.
int platform_tcp_error(int socket);
/// A listening socket on a numeric address; port 0 takes a free one.
int platform_tcp_listen(const char *address, uint16_t port);
/// Sends without Nagle's delay, and ends the connection when its peer has answered nothing for
/// `seconds`, also while nothing is sent.
int platform_tcp_keep(int socket, int seconds);
/// The port that a socket is bound to.
int platform_tcp_port(int socket);

/// Sends or receives what goes at once, from or to `count` (up to 1024) places. Never waits, never
/// raises SIGPIPE.
/// `has_more`: the kernel may wait for what follows at once.
ssize_t platform_stream_send(int socket, const struct iovec *places, size_t count, int has_more);
ssize_t platform_stream_receive(int socket, const struct iovec *places, size_t count);

/// Allows `platform_stream_send_pinned`.
int platform_stream_allow_pins(int socket);
/// Sends from the memory itself (MSG_ZEROCOPY), which the kernel reads until a notice says that it
/// does not any more. ENOBUFS: it may not lock that many pages, or has no room for notices.
ssize_t platform_stream_send_pinned(int socket, const struct iovec *places, size_t count,
                                    int has_more);

/// The end of the kernel's use of the memory of pinned sends `first` to `last`, counted from 0 in
/// the order of their calls, modulo 2^32.
struct platform_notice {
    uint32_t first;
    uint32_t last;
    /// The kernel has made copies after all.
    int is_copied;
};

/// 1: took a notice; 0: there is none.
int platform_stream_take_notice(int socket, struct platform_notice *notice);

#endif
