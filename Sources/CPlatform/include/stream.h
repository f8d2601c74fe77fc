#ifndef SOFTSNAP_STREAM_H
#define SOFTSNAP_STREAM_H

// TCP sockets. Every call returns -1 and sets errno on failure.

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

/// AF_INET, AF_INET6, or -1 for text that is no numeric address.
int platform_address_family(const char *address);
/// Starts a connection of a non-blocking, close-on-exec socket without Nagle's delay to a numeric
/// IPv4 or IPv6 address (EINVAL for a name), from `local` unless that is NULL. It may still be
/// under way: wait until the socket is writable and ask `platform_tcp_error`.
int platform_tcp_connect(const char *address, uint16_t port, const char *local);
/// What has become of a connection: 0, or its errno.
int platform_tcp_error(int socket);
/// A listening socket on a numeric address; port 0 takes a free one.
int platform_tcp_listen(const char *address, uint16_t port);
/// The port that a socket is bound to.
int platform_tcp_port(int socket);

/// Sends or receives what goes at once, from or to `count` (up to 1024) places. Never waits, never
/// raises SIGPIPE.
ssize_t platform_stream_send(int socket, const struct iovec *places, size_t count);
ssize_t platform_stream_receive(int socket, const struct iovec *places, size_t count);

#endif
