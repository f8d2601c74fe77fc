#ifndef SOFTSNAP_VERBS_H
#define SOFTSNAP_VERBS_H

// libibverbs and librdmacm as Swift can call them: macros become functions, and errno the result.
// Every call returns 0, or a negated errno, unless it says otherwise.

#include <infiniband/verbs.h>
#include <rdma/rdma_cma.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// A scatter entry goes to the device as it lies in memory.
_Static_assert(sizeof(struct ibv_sge) == 16, "ibv_sge");
_Static_assert(offsetof(struct ibv_sge, length) == 8, "ibv_sge.length");
_Static_assert(offsetof(struct ibv_sge, lkey) == 12, "ibv_sge.lkey");

// --- devices ---

/// Opens every RDMA device; the list ends with rdma_free_devices. librdmacm opens each device for
/// itself, and a context costs the device a register page, so these are the only contexts.
int verbs_open_devices(struct ibv_context ***devices, int *count);
int verbs_query_port(struct ibv_context *context, uint8_t port, struct ibv_port_attr *attributes);
/// How many entries of the GID table were written, at most `capacity`.
ssize_t verbs_query_gids(struct ibv_context *context, struct ibv_gid_entry *entries,
                         size_t capacity);
/// Dotted text of an IPv4-mapped GID in `text` (16 bytes). False: it is none.
bool verbs_gid_address(const struct ibv_gid_entry *entry, char *text);

// --- resources ---

int verbs_allocate_domain(struct ibv_context *context, struct ibv_pd **domain);
int verbs_register(struct ibv_pd *domain, void *address, size_t length, int access,
                   struct ibv_mr **region);
/// A completion queue; if it `wakes`, with a channel of its own, whose descriptor does not block.
int verbs_create_queue(struct ibv_context *context, int entries, bool wakes, struct ibv_cq **queue);
/// The channel goes with its queue.
void verbs_destroy_queue(struct ibv_cq *queue);
/// Takes the events of the queue's channel and acknowledges them; how many there were.
int verbs_take_events(struct ibv_cq *queue);
/// A reliable connected queue pair. `capabilities`: as asked, then as granted.
int verbs_create_queue_pair(struct ibv_pd *domain, struct ibv_cq *sends, struct ibv_cq *receives,
                            struct ibv_qp_cap *capabilities, struct ibv_qp **pair);

// --- connections (librdmacm); nothing here waits ---

struct cm_event {
    enum rdma_cm_event_type kind;
    int status;  // a negated errno; of a rejection, its reason
    struct rdma_cm_id *id;
    struct rdma_cm_id *listener;  // of a connection request
    uint8_t private_data[256];
    uint8_t private_length;
    uint8_t responder_resources;
    uint8_t initiator_depth;
};

struct cm_parameters {
    const void *private_data;
    uint8_t private_length;
    uint8_t responder_resources;
    uint8_t initiator_depth;
    uint8_t retry_count;
    uint8_t rnr_retry_count;
    uint32_t queue_pair;
};

int cm_open_channel(struct rdma_event_channel **channel);
/// 1 and an event that is copied out and acknowledged; 0: none.
int cm_next_event(struct rdma_event_channel *channel, struct cm_event *event);
int cm_create_id(struct rdma_event_channel *channel, struct rdma_cm_id **id);
/// `address` is numeric, IPv4 or IPv6; EINVAL otherwise.
int cm_listen(struct rdma_cm_id *id, const char *address, uint16_t port, int backlog);
int cm_resolve_address(struct rdma_cm_id *id, const char *address, uint16_t port,
                       int milliseconds);
int cm_resolve_route(struct rdma_cm_id *id, int milliseconds);
int cm_connect(struct rdma_cm_id *id, const struct cm_parameters *parameters);
int cm_establish(struct rdma_cm_id *id);
int cm_accept(struct rdma_cm_id *id, const struct cm_parameters *parameters);
int cm_reject(struct rdma_cm_id *id, const void *private_data, uint8_t length);
int cm_disconnect(struct rdma_cm_id *id);
/// Moves `pair` to `state` with the attributes of the connection, its times excepted:
/// `ack_timeout` (4.096 µs << ack_timeout) and `rnr_timer` (its code in IBA 9.7.5.2.8).
int cm_move_queue_pair(struct rdma_cm_id *id, struct ibv_qp *pair, enum ibv_qp_state state,
                       uint8_t ack_timeout, uint8_t rnr_timer);
/// Ends all work of `pair`: what is under way completes as flushed.
int verbs_fail_queue_pair(struct ibv_qp *pair);

#endif
