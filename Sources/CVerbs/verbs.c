#define _GNU_SOURCE
#include "verbs.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

static int set_nonblocking(int descriptor) {
    int flags = fcntl(descriptor, F_GETFL);
    if (flags < 0 || fcntl(descriptor, F_SETFL, flags | O_NONBLOCK) < 0) return -errno;
    return 0;
}

int verbs_open_devices(struct ibv_context ***devices, int *count) {
    *devices = rdma_get_devices(count);
    return *devices ? 0 : -errno;
}

int verbs_query_port(struct ibv_context *context, uint8_t port, struct ibv_port_attr *attributes) {
    return -ibv_query_port(context, port, attributes);
}

ssize_t verbs_query_gids(struct ibv_context *context, struct ibv_gid_entry *entries,
                         size_t capacity) {
    return ibv_query_gid_table(context, entries, capacity, 0);
}

bool verbs_gid_address(const struct ibv_gid_entry *entry, char *text) {
    static const uint8_t mapped[12] = {[10] = 0xFF, [11] = 0xFF};
    if (memcmp(entry->gid.raw, mapped, sizeof mapped) != 0) return false;
    return inet_ntop(AF_INET, entry->gid.raw + 12, text, INET_ADDRSTRLEN) != NULL;
}

int verbs_allocate_domain(struct ibv_context *context, struct ibv_pd **domain) {
    *domain = ibv_alloc_pd(context);
    return *domain ? 0 : -errno;
}

int verbs_register(struct ibv_pd *domain, void *address, size_t length, int access,
                   struct ibv_mr **region) {
    *region = ibv_reg_mr(domain, address, length, access);
    return *region ? 0 : -errno;
}

int verbs_create_queue(struct ibv_context *context, int entries, bool wakes,
                       struct ibv_cq **queue) {
    struct ibv_comp_channel *channel = wakes ? ibv_create_comp_channel(context) : NULL;
    if (wakes && !channel) return -errno;
    int error = wakes ? set_nonblocking(channel->fd) : 0;
    if (error == 0) {
        *queue = ibv_create_cq(context, entries, NULL, channel, 0);
        if (*queue) return 0;
        error = -errno;
    }
    if (channel) ibv_destroy_comp_channel(channel);
    return error;
}

void verbs_destroy_queue(struct ibv_cq *queue) {
    struct ibv_comp_channel *channel = queue->channel;
    ibv_destroy_cq(queue);
    if (channel) ibv_destroy_comp_channel(channel);
}

int verbs_take_events(struct ibv_cq *queue) {
    struct ibv_cq *source;
    void *context;
    int count = 0;
    while (ibv_get_cq_event(queue->channel, &source, &context) == 0) count++;
    if (count > 0) ibv_ack_cq_events(queue, (unsigned)count);
    return count;
}

int verbs_create_queue_pair(struct ibv_pd *domain, struct ibv_cq *sends, struct ibv_cq *receives,
                            struct ibv_qp_cap *capabilities, struct ibv_qp **pair) {
    struct ibv_qp_init_attr attributes = {
        .send_cq = sends, .recv_cq = receives, .cap = *capabilities, .qp_type = IBV_QPT_RC};
    *pair = ibv_create_qp(domain, &attributes);
    if (!*pair) return -errno;
    *capabilities = attributes.cap;
    return 0;
}

int verbs_fail_queue_pair(struct ibv_qp *pair) {
    struct ibv_qp_attr attributes = {.qp_state = IBV_QPS_ERR};
    return -ibv_modify_qp(pair, &attributes, IBV_QP_STATE);
}
