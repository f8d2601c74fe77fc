// The I/O queue of an NVMe/TCP target whose disk reads as zeroes and forgets what is written
// (NVM Express NVMe/TCP transport 1.0). bench.py compiles it, and nvmeof_target.py gives it its
// connections: so a benchmark waits for the initiator and not for Python.

#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

enum { COMMAND = 4, RESPONSE = 5, DATA = 7, HEADER = 24, LAST = 4, READ = 2, ROOM = 1 << 20 };

struct pdu {
    uint8_t type, flags, header_bytes, data_offset;
    uint32_t bytes;
};

static int send_all(int socket, const uint8_t *bytes, size_t count) {
    while (count > 0) {
        ssize_t sent = send(socket, bytes, count, MSG_NOSIGNAL);
        if (sent <= 0) return -1;
        bytes += sent;
        count -= (size_t)sent;
    }
    return 0;
}

static uint8_t *put_response(uint8_t *place, uint16_t identifier) {
    struct pdu pdu = {RESPONSE, 0, HEADER, 0, HEADER};
    memset(place, 0, HEADER);
    memcpy(place, &pdu, sizeof pdu);
    memcpy(place + 20, &identifier, 2);
    return place + HEADER;
}

static uint8_t *put_data(uint8_t *place, uint16_t identifier, uint32_t count) {
    struct pdu pdu = {DATA, LAST, HEADER, HEADER, HEADER + count};
    memset(place, 0, HEADER + count);
    memcpy(place, &pdu, sizeof pdu);
    memcpy(place + 8, &identifier, 2);
    memcpy(place + 16, &count, 4);
    return place + HEADER + count;
}

/// Answers commands on a blocking socket until it ends, or until one comes that is none or moves
/// more than 128 KiB. A write has its data with it.
int serve_null_queue(int socket) {
    static __thread uint8_t input[ROOM], output[ROOM];
    size_t have = 0;
    for (;;) {
        ssize_t count = recv(socket, input + have, ROOM - have, 0);
        if (count <= 0) return 0;
        have += (size_t)count;
        uint8_t *next = input, *place = output;
        while (have >= sizeof(struct pdu)) {
            struct pdu pdu;
            memcpy(&pdu, next, sizeof pdu);
            if (pdu.type != COMMAND || pdu.bytes < 72 || pdu.bytes > ROOM / 2) return -1;
            if (have < pdu.bytes) break;
            const uint8_t *entry = next + 8;
            uint16_t identifier;
            uint32_t length;
            memcpy(&identifier, entry + 2, 2);
            memcpy(&length, entry + 32, 4);
            if (length > 128 << 10) return -1;
            if (place - output > ROOM - (256 << 10)) {
                if (send_all(socket, output, (size_t)(place - output)) < 0) return -1;
                place = output;
            }
            if (entry[0] == READ) place = put_data(place, identifier, length);
            place = put_response(place, identifier);
            next += pdu.bytes;
            have -= pdu.bytes;
        }
        memmove(input, next, have);
        if (place > output && send_all(socket, output, (size_t)(place - output)) < 0) return -1;
    }
}
