"""The environment of the container: what each variable means here, and what it may be."""

import os
import re
import shlex
from dataclasses import dataclass, field

CONFIGURATION = "/etc/nvda_snap"
DPU = "/run/softdpu/control/dpu.sock"
DEFAULT_SOCKET = "/var/tmp/spdk.sock"

NO_DPA = "there are no DPA cores; queues are served by the cores of -m"

# Taken as SNAP takes them, with their values.
CHOICES = {
    "SNAP_RDMA_ZCOPY_ENABLE": ("0", "1"),
    "SNAP_RPC_LOG_ENABLE": ("0", "1"),
    "NVME_BDEV_RESET_ENABLE": ("0", "1"),
    "VBLK_RECOVERY_SHM": ("0", "1"),
    "VIRTIO_EMU_PROVIDER": ("dpu", "dpa"),
    "NVME_EMU_PROVIDER": ("dpu", "dpa"),
    "IO_CORE_DISTRIBUTION_POLICY": ("none", "weighted_rr"),
    "SOFTSNAP_INIT_KEEP_GOING": ("0", "1"),
    "SOFTSNAP_SHARE_CORES": ("0", "1"),
}
# Name to (least, most).
NUMBERS = {
    "SUPERVISOR_STOPWAITSECS": (1, 3600),
    "SNAP_MEMPOOL_SIZE_MB": (64, 1 << 20),
    "XLIO_RX_BUFS": (1, 1 << 20),
}
# Name to (the value that says what is so anyway, why there is no effect).
WITHOUT_EFFECT = {
    "NVME_BDEV_RESET_ENABLE": (
        "1", "a reset waits until nothing of the function is under way, on every bdev"),
    "VBLK_RECOVERY_SHM": (
        "1", "the in-flight log is kept in function memory, whatever this says"),
    "VIRTIO_EMU_PROVIDER": ("dpu", NO_DPA),
    "NVME_EMU_PROVIDER": ("dpu", NO_DPA),
    "dpa_virtq_split_core_mask": (None, NO_DPA),
    "IO_CORE_DISTRIBUTION_POLICY": (
        "none", "a queue goes to the core that has the fewest of its function, then of all"),
    "SNAP_EMULATION_MANAGER": ("mlx5_0", "the software DPU has one emulation manager, mlx5_0"),
    "SNAP_MEMPOOL_SIZE_MB": (None, "each core has 32 MiB of staging memory"),
    "XLIO_RX_BUFS": (None, "connections are the kernel's"),
}
HONOURED = {
    "APP_ARGS", "SNAP_LOG_FILE", "SPDK_RPC_INIT_CONF", "SNAP_RPC_INIT_CONF",
    "SPDK_RPC_INIT_CONF_JSON", "SPDK_XLIO_PATH", "SOFTSNAP_DPU", "SOFTSNAP_METRICS",
}
# Options of SPDK applications that take a value and mean nothing here.
OPTIONS_WITHOUT_EFFECT = {
    "-s": "no huge pages are set aside", "--mem-size": "no huge pages are set aside",
    "--iova-mode": "there is no IOMMU to be set up",
}


class Refusal(Exception):
    """What is wrong, and what to do about it. The container ends with code 2."""


@dataclass
class Settings:
    """What the container was told."""

    arguments: list = field(default_factory=list)
    socket: str = DEFAULT_SOCKET
    cores: str = "0x1"
    # Nil when the software DPU is embedded, or is on another machine.
    dpu: str | None = None
    waits_for_rpc: bool = False
    uses_rdma: bool = False
    spdk_file: str | None = None
    snap_file: str | None = None
    json_file: str | None = None
    log_file: str | None = None
    keeps_going: bool = False
    shares_cores: bool = False
    # Where figures are given: unix:PATH or HOST:PORT.
    metrics: str | None = None
    stop_seconds: int = 10
    # Lines for the log: what has no effect.
    remarks: list = field(default_factory=list)


def read(environment):
    """The settings of an environment; Refusal names the variable, its value and what it may be."""
    settings = Settings()
    for name, allowed in CHOICES.items():
        value = environment.get(name, "")
        if value and value not in allowed:
            raise Refusal(f"{name}={value}: it may be {' or '.join(allowed)}; change it, or leave "
                          "it out")
    for name, (least, most) in NUMBERS.items():
        value = environment.get(name, "")
        if value and not (value.isdecimal() and least <= int(value) <= most):
            raise Refusal(f"{name}={value}: it may be a number from {least} to {most}; change it, "
                          "or leave it out")
    settings.remarks = remarks(environment)
    settings.keeps_going = environment.get("SOFTSNAP_INIT_KEEP_GOING") == "1"
    settings.shares_cores = environment.get("SOFTSNAP_SHARE_CORES") == "1"
    settings.stop_seconds = int(environment.get("SUPERVISOR_STOPWAITSECS") or 10)
    settings.metrics = metrics(environment)
    settings.log_file = environment.get("SNAP_LOG_FILE") or None
    settings.spdk_file = init_file(environment, "SPDK_RPC_INIT_CONF", "spdk_rpc_init.conf")
    settings.snap_file = init_file(environment, "SNAP_RPC_INIT_CONF", "snap_rpc_init.conf")
    settings.json_file = init_file(environment, "SPDK_RPC_INIT_CONF_JSON", None)
    read_arguments(settings, environment)
    return settings


def remarks(environment):
    """A line for each variable that changes nothing here, and why."""
    lines = []
    for name, value in sorted(environment.items()):
        if name in WITHOUT_EFFECT:
            same, reason = WITHOUT_EFFECT[name]
            if value and value != same:
                lines.append(f"{name}={value} has no effect here: {reason}")
        elif (name.startswith(("SNAP_", "SOFTSNAP_", "LIBSNAP_", "XLIO_"))
              and name not in HONOURED and name not in CHOICES and name not in NUMBERS):
            lines.append(f"{name}={value} has no effect here: nothing of that name is known")
    return lines


def metrics(environment):
    value = environment.get("SOFTSNAP_METRICS") or None
    if value and not re.fullmatch(r"unix:/.+|[^/\s]+:\d{1,5}", value):
        raise Refusal(f"SOFTSNAP_METRICS={value}: it may be unix:PATH or HOST:PORT; change it, or "
                      "leave it out")
    return value


def init_file(environment, name, default):
    """The file that a variable names; its default where there is one, None for the empty string."""
    value = environment.get(name)
    if value is None:
        path = default and os.path.join(CONFIGURATION, default)
        return path if path and os.path.exists(path) else None
    if not value:
        return None
    if not os.path.isfile(value):
        raise Refusal(f"{name}={value}: there is no such file; make it (an empty one does), mount "
                      f"the directory that has it, or set {name} to the empty string")
    return value


def read_arguments(settings, environment):
    """APP_ARGS, and the software DPU that they do not name."""
    text = environment.get("APP_ARGS", "")
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise Refusal(f"APP_ARGS={text}: {error}; quote it as for a shell") from error
    while words:
        word = words.pop(0)
        name, equals, value = word.partition("=")
        if name in OPTIONS_WITHOUT_EFFECT:
            if not equals:
                value = words.pop(0) if words else ""
            settings.remarks.append(
                f"{name} {value} of APP_ARGS has no effect here: {OPTIONS_WITHOUT_EFFECT[name]}")
            continue
        settings.arguments.append(word)
        if not equals and words and name in ("-r", "--rpc-socket", "-m", "--cpumask", "--dpu",
                                             "--data-path"):
            value = words.pop(0)
            settings.arguments.append(value)
        take(settings, name, value)
    if any(word.split("=")[0] == "--dpu" for word in settings.arguments):
        return
    dpu = environment.get("SOFTSNAP_DPU", DPU)
    if dpu == "embedded":
        settings.remarks.append(
            "SOFTSNAP_DPU=embedded: functions and their sockets end with this container")
    elif not dpu.startswith("/"):
        raise Refusal(f"SOFTSNAP_DPU={dpu}: it may be the path of a socket, or embedded; another "
                      "machine's is named by --dpu in APP_ARGS")
    else:
        settings.dpu = dpu
        settings.arguments += ["--dpu", dpu]


def take(settings, name, value):
    if name in ("-r", "--rpc-socket"):
        settings.socket = value
    elif name in ("-m", "--cpumask"):
        settings.cores = value
    elif name == "--dpu" and value.startswith("/"):
        settings.dpu = value
    elif name == "--data-path":
        settings.uses_rdma = value == "rdma"
    elif name == "--wait-for-rpc":
        settings.waits_for_rpc = True
