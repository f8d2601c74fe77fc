#define _GNU_SOURCE
#include "verbs.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

static int outcome(int result) { return result == 0 ? 0 : -errno; }

int cm_open_channel(struct rdma_event_channel **channel) {
    *channel = rdma_create_event_channel();
    if (!*channel) return -errno;
    int flags = fcntl((*channel)->fd, F_GETFL);
    if (flags >= 0 && fcntl((*channel)->fd, F_SETFL, flags | O_NONBLOCK) == 0) return 0;
    int error = errno;
    rdma_destroy_event_channel(*channel);
    return -error;
}

int cm_next_event(struct rdma_event_channel *channel, struct cm_event *event) {
    struct rdma_cm_event *source;
    if (rdma_get_cm_event(channel, &source) != 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    const struct rdma_conn_param *parameters = &source->param.conn;
    *event = (struct cm_event){.kind = source->event,
                               .status = source->status,
                               .id = source->id,
                               .listener = source->listen_id,
                               .private_length = parameters->private_data_len,
                               .responder_resources = parameters->responder_resources,
                               .initiator_depth = parameters->initiator_depth};
    if (parameters->private_data)
        memcpy(event->private_data, parameters->private_data, parameters->private_data_len);
    else
        event->private_length = 0;
    rdma_ack_cm_event(source);
    return 1;
}

int cm_create_id(struct rdma_event_channel *channel, struct rdma_cm_id **id) {
    return outcome(rdma_create_id(channel, id, NULL, RDMA_PS_TCP));
}

// The address of numeric text; freeaddrinfo ends it.
static struct addrinfo *numeric(const char *address, uint16_t port) {
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
                             .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    char service[8];
    snprintf(service, sizeof service, "%u", port);
    return getaddrinfo(address, service, &hints, &found) == 0 ? found : NULL;
}

int cm_listen(struct rdma_cm_id *id, const char *address, uint16_t port, int backlog) {
    struct addrinfo *own = numeric(address, port);
    if (!own) return -EINVAL;
    int result = outcome(rdma_bind_addr(id, own->ai_addr));
    freeaddrinfo(own);
    return result != 0 ? result : outcome(rdma_listen(id, backlog));
}

int cm_resolve_address(struct rdma_cm_id *id, const char *address, uint16_t port,
                       int milliseconds) {
    struct addrinfo *peer = numeric(address, port);
    if (!peer) return -EINVAL;
    int result = outcome(rdma_resolve_addr(id, NULL, peer->ai_addr, milliseconds));
    freeaddrinfo(peer);
    return result;
}

int cm_resolve_route(struct rdma_cm_id *id, int milliseconds) {
    return outcome(rdma_resolve_route(id, milliseconds));
}

static struct rdma_conn_param converted(const struct cm_parameters *parameters) {
    return (struct rdma_conn_param){.private_data = parameters->private_data,
                                    .private_data_len = parameters->private_length,
                                    .responder_resources = parameters->responder_resources,
                                    .initiator_depth = parameters->initiator_depth,
                                    .retry_count = parameters->retry_count,
                                    .rnr_retry_count = parameters->rnr_retry_count,
                                    .qp_num = parameters->queue_pair};
}

int cm_connect(struct rdma_cm_id *id, const struct cm_parameters *parameters) {
    struct rdma_conn_param converted_parameters = converted(parameters);
    return outcome(rdma_connect(id, &converted_parameters));
}

int cm_establish(struct rdma_cm_id *id) { return outcome(rdma_establish(id)); }

int cm_accept(struct rdma_cm_id *id, const struct cm_parameters *parameters) {
    struct rdma_conn_param converted_parameters = converted(parameters);
    return outcome(rdma_accept(id, &converted_parameters));
}

int cm_reject(struct rdma_cm_id *id, const void *private_data, uint8_t length) {
    return outcome(rdma_reject(id, private_data, length));
}

int cm_disconnect(struct rdma_cm_id *id) { return outcome(rdma_disconnect(id)); }

int cm_move_queue_pair(struct rdma_cm_id *id, struct ibv_qp *pair, enum ibv_qp_state state,
                       uint8_t ack_timeout, uint8_t rnr_timer) {
    struct ibv_qp_attr attributes = {.qp_state = state};
    int mask = 0;
    if (rdma_init_qp_attr(id, &attributes, &mask) != 0) return -errno;
    if (mask & IBV_QP_TIMEOUT) attributes.timeout = ack_timeout;
    if (mask & IBV_QP_MIN_RNR_TIMER) attributes.min_rnr_timer = rnr_timer;
    return -ibv_modify_qp(pair, &attributes, mask);
}
