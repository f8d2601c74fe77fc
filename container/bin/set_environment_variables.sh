# Environment of snap_service outside containers: edit this, then
#
#   . /opt/nvidia/nvda_snap/bin/set_environment_variables.sh
#
# before it is started. In containers the manifest has these.

# Data of remote disks goes between host memory and the target directly (0: by buffers).
export SNAP_RDMA_ZCOPY_ENABLE=1
# Calls and answers are recorded in /var/log/snap-log/rpc-log.
export SNAP_RPC_LOG_ENABLE=1
# A library of XLIO for sock_set_default_impl -i xlio; empty: none.
export SPDK_XLIO_PATH=
