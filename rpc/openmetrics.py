"""A snapshot of a service as OpenMetrics 1.0 text.

https://prometheus.io/docs/specs/om/open_metrics_spec/
"""

from metrics import number

CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"

OPERATIONS = ("read", "write", "flush")
CONTROLLER_STATES = ("STARTED", "STOPPED", "SUSPENDED", "SUSPENDING")
HOTPLUG_STATES = ("HOTPLUG", "HOTUNPLUG_PREPARE", "POWER_OFF", "POWER_ON")
PATH_STATES = ("deleting", "enabled", "failed", "reconnect_is_delayed", "resetting")
# Upper bounds in seconds: 1, 2 and 5 in each power of ten from 1 us to 10 s; powers of two of
# microseconds from 64 us to 67 s, as the service counts pauses.
LATENCY_BOUNDS = [float(f"{digit}e{power}") for power in range(-6, 1) for digit in (1, 2, 5)]
LATENCY_BOUNDS.append(10.0)
GAP_BOUNDS = [2 ** power / 1e6 for power in range(6, 27)]

# Name, type, unit and meaning of each family, in the order of the text.
FAMILIES = [line.split("|") for line in """
up|gauge||1 when the service answered, 0 when it did not
scrape_duration_seconds|gauge|seconds|Time that the service took for all answers
scrape_refused_calls|gauge||Calls that the service refused; what they would say is missing here
service|info||Which service and which software DPU this is
function|info||An emulated PCIe function, and its controller
function_enabled|gauge||1 while the host has the virtual function enabled
function_host_connected|gauge||1 while a host is connected to the function
function_driver_bound|gauge||1 while a driver is bound to the function
function_hotplug_state|stateset||State of a hot-plug function
function_enabled_vfs|gauge||Virtual functions that the host has enabled
function_msix_vectors|gauge||MSI-X vectors of the function
function_free_msix_vectors|gauge||MSI-X vectors in the pool of a PF that belong to none of its VFs
controller|info||A controller and what it serves
controller_state|stateset||State of a controller
controller_queues|gauge||I/O queues that a controller offers
controller_free_queues|gauge||Queues that VFs of the controller's PF may still have
controller_operations|counter||I/O operations of a controller's queues
controller_bytes|counter|bytes|Data of an NVMe controller's commands
controller_placed_bytes|counter|bytes|Data that went directly to or from host memory, or was staged
queue_operations|counter||I/O operations of a queue
queue_errors|counter||Commands of an NVMe queue that ended with an error
namespace|info||A namespace of an NVMe subsystem and its bdev
namespace_ready|gauge||1 while the namespace has its bdev
namespace_controllers|gauge||Controllers that the namespace is attached to
subsystem_controllers|gauge||Controllers of an NVMe subsystem
bdev_operations|counter||I/O operations of a bdev
bdev_bytes|counter|bytes|Data of a bdev's operations
bdev_operation_seconds|counter|seconds|Time that a bdev's operations took, added up
bdev_errors|counter||Operations of a bdev that failed or were aborted
bdev_latency_seconds|histogram|seconds|Latency since bdev_enable_histogram; the sum is within 1 %
remote_path_state|stateset||State of a path to a remote NVMe target
remote_path_commands|counter||I/O commands sent on a path
remote_path_bytes|counter|bytes|Data of a path, direct from and to memory of requests, or staged
remote_path_work_requests|counter||RDMA sends and receives of a path
remote_path_doorbells|counter||Calls that told the RDMA device of them
remote_path_system_calls|counter||System calls that a path has cost
gaps|counter||Pauses of a driver while another service took its function over, by kind
gap_seconds|histogram|seconds|Length of these pauses; the service does not add them up
gap_maximum_seconds|gauge|seconds|Longest of these pauses
gap_last_seconds|gauge|seconds|Latest of these pauses
recovery_running|gauge||1 while the service brings its configuration back
recovery_duration_seconds|gauge|seconds|Time that this took when the service started
recovery_repeated_calls|gauge||Calls that were repeated
recovery_failed_calls|gauge||Calls that could not be repeated
recovery_dropped_calls|gauge||Calls left out, because another service has the function
reactor_seconds|counter|seconds|Time in which a reactor was busy, or polled for nothing; no sleep
reactor_queues|gauge||Queues of controllers on a reactor
data_path_queue_pairs|gauge||RDMA queue pairs of a reactor
data_path_queues|gauge||Virtqueues and NVMe queues that share them
data_path_staging_bytes|gauge|bytes|Memory of a reactor's staging area
data_path_transfers|counter||RDMA transfers of a reactor
data_path_doorbells|counter||Calls that told the RDMA device of them
data_path_bytes|counter|bytes|Data that a reactor has read from hosts and written to them by RDMA
rdma_used_queue_pairs|gauge||RDMA queue pairs of a device that are in use
rdma_usable_queue_pairs|gauge||RDMA queue pairs that the device could still give
rdma_advertised_queue_pairs|gauge||RDMA queue pairs that the device advertises
""".strip().splitlines()]


class Exposition:
    """Samples by family. The first of equal samples stays, so none is there twice."""

    def __init__(self):
        self.samples = {name: {} for name, *_ in FAMILIES}

    def add(self, name, value, **labels):
        """A gauge or counter; what is no number is left out."""
        value = number(value)
        if value is not None:
            suffix = "_total" if TYPES[name] == "counter" else ""
            self.put(name, suffix, value, labels)

    def add_info(self, name, **labels):
        self.put(name, "_info", 1, labels)

    def add_state(self, name, states, state, **labels):
        """All states have a sample, and one of them is 1."""
        if isinstance(state, str):
            for one in sorted({*states, state}):
                self.put(name, "", int(one == state), {**labels, f"softsnap_{name}": one})

    def add_histogram(self, name, bounds, buckets, total=None, **labels):
        """`buckets` are (upper bound, count); with `total`, the sum, there is also a count."""
        if key(labels | {"le": "+Inf"}, "_bucket") in self.samples[name]:
            return
        for bound in bounds:
            # What a service computed in other steps may miss a bound by its last digit.
            below = sum(count for upper, count in buckets if upper <= bound * (1 + 1e-9))
            self.put(name, "_bucket", below, {**labels, "le": repr(bound)})
        count = sum(count for _, count in buckets)
        self.put(name, "_bucket", count, {**labels, "le": "+Inf"})
        if total is not None:
            self.put(name, "_count", count, labels)
            self.put(name, "_sum", total, labels)

    def put(self, name, suffix, value, labels):
        self.samples[name].setdefault(key(labels, suffix), value)

    def text(self):
        lines = []
        for name, kind, unit, meaning in FAMILIES:
            if not self.samples[name]:
                continue
            lines.append(f"# TYPE softsnap_{name} {kind}")
            if unit:
                lines.append(f"# UNIT softsnap_{name} {unit}")
            lines.append(f"# HELP softsnap_{name} {escape(meaning)}")
            for (suffix, labels), value in self.samples[name].items():
                pairs = ",".join(f'{label}="{escape(text)}"' for label, text in labels)
                lines.append(f"softsnap_{name}{suffix}{{{pairs}}} {value}"
                             if pairs else f"softsnap_{name}{suffix} {value}")
        return "\n".join([*lines, "# EOF\n"])


TYPES = {name: kind for name, kind, *_ in FAMILIES}


def key(labels, suffix):
    return suffix, tuple((label, label_text(value)) for label, value in labels.items()
                         if value is not None)


def label_text(value):
    return str(value).lower() if isinstance(value, bool) else str(value)


def escape(text):
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def exposition(snapshot):
    """The text of a Snapshot, or of None when the service did not answer."""
    out = Exposition()
    out.add("up", snapshot is not None)
    if snapshot is not None:
        out.add("scrape_duration_seconds", snapshot.seconds)
        out.add("scrape_refused_calls", snapshot.refused_count)
        add_service(out, snapshot)
        add_functions(out, snapshot)
        for controller in snapshot.controllers():
            add_controller(out, controller)
        add_namespaces(out, snapshot)
        add_bdevs(out, snapshot)
        add_remote_paths(out, snapshot)
        add_gaps(out, snapshot)
        add_reactors(out, snapshot)
        add_queue_pairs(out, snapshot)
    return out.text()


def add_service(out, snapshot):
    service = snapshot.object("softsnap_service_get")
    path = snapshot.object("softsnap_data_path_get")
    out.add_info("service", service_instance=service.get("instance"), dpu=service.get("dpu"),
                 embedded=service.get("embedded"), data_path=path.get("data_path"),
                 rdma_device=path.get("device"))
    recovery = snapshot.object("softsnap_recovery_get")
    if recovery:
        out.add("recovery_running", recovery.get("state") == "running")
        out.add("recovery_duration_seconds", scaled(recovery.get("milliseconds"), 1e3))
        out.add("recovery_repeated_calls", recovery.get("recovered"))
        out.add("recovery_failed_calls", length(recovery.get("failed")))
        out.add("recovery_dropped_calls", length(recovery.get("dropped")))


def add_functions(out, snapshot):
    for function in snapshot.functions():
        vuid = function.get("vuid")
        out.add_info("function", vuid=vuid, protocol=function["protocol"], kind=function["kind"],
                     pci_bdf=function.get("pci_bdf"), controller=function.get("ctrl_id"))
        out.add_state("function_hotplug_state", HOTPLUG_STATES, function.get("hotplug state"),
                      vuid=vuid)
        for name, member in (
                ("function_enabled", "enabled"), ("function_host_connected", "host_connected"),
                ("function_driver_bound", "driver_bound"), ("function_msix_vectors", "num_msix"),
                ("function_free_msix_vectors", "free_msix"),
                ("function_enabled_vfs", "num_enabled_vfs")):
            out.add(name, function.get(member), vuid=vuid)


def add_controller(out, controller):
    labels = {"controller": controller["ctrl_id"], "protocol": controller["protocol"],
              "vuid": controller.get("vuid")}
    out.add_info("controller", **labels, bdev=controller.get("bdev"), nqn=controller.get("nqn"),
                 data_path=controller.get("data_path"), live_update=controller.get("live_update"))
    out.add_state("controller_state", CONTROLLER_STATES, controller.get("state"), **labels)
    out.add("controller_queues", controller.get("num_queues"), **labels)
    out.add("controller_free_queues", controller.get("free_queues"), **labels)
    for operation in OPERATIONS:
        member = f"{operation}_io_count"
        out.add("controller_operations", controller.get(member), **labels, operation=operation)
        for queue in controller["queues"]:
            out.add("queue_operations", queue.get(member), **labels,
                    queue=queue.get("queue_id"), operation=operation)
    for queue in controller["queues"]:
        out.add("queue_errors", queue.get("err_io_count"), **labels, queue=queue.get("queue_id"))
    out.add("controller_bytes", controller.get("bytes_read"), **labels, operation="read")
    out.add("controller_bytes", controller.get("bytes_written"), **labels, operation="write")
    for placement in ("direct", "staged"):
        out.add("controller_placed_bytes", controller.get(f"bytes_{placement}"), **labels,
                placement=placement)


def add_namespaces(out, snapshot):
    for subsystem in snapshot.rows("nvme_subsystem_list"):
        out.add("subsystem_controllers", length(subsystem.get("controllers")),
                nqn=subsystem.get("nqn"))
    for namespace in snapshot.rows("nvme_namespace_list"):
        labels = {"nqn": namespace.get("nqn"), "nsid": namespace.get("nsid")}
        out.add_info("namespace", **labels, bdev=namespace.get("bdev"))
        out.add("namespace_ready", namespace.get("ready") == "Yes", **labels)
        out.add("namespace_controllers", length(namespace.get("controllers")), **labels)


def add_bdevs(out, snapshot):
    for row in snapshot.bdevs():
        name = row["name"]
        for operation, size in (("read", "bytes_read"), ("write", "bytes_written"),
                                ("unmap", "bytes_unmapped")):
            labels = {"bdev": name, "operation": operation}
            out.add("bdev_operations", row.get(f"num_{operation}_ops"), **labels)
            out.add("bdev_bytes", row.get(size), **labels)
            out.add("bdev_operation_seconds", row.get(f"{operation}_seconds"), **labels)
        errors = row.get("io_error")
        for outcome in ("aborted", "failed"):
            # Those that did not happen are not listed.
            if isinstance(errors, dict):
                out.add("bdev_errors", errors.get(outcome, 0), bdev=name, outcome=outcome)
    for name, buckets in snapshot.histograms.items():
        total = sum((lower + upper) / 2 * count for lower, upper, count in buckets)
        out.add_histogram("bdev_latency_seconds", LATENCY_BOUNDS,
                          [(upper, count) for _, upper, count in buckets], total, bdev=name)


def add_remote_paths(out, snapshot):
    for remote in snapshot.rows("bdev_nvme_get_controllers"):
        paths = remote.get("ctrlrs")
        for path in paths if isinstance(paths, list) else []:
            trid = path.get("trid") if isinstance(path, dict) else None
            if not isinstance(trid, dict):
                continue
            labels = {"remote": remote.get("name"), "transport": trid.get("trtype"),
                      "address": f"{trid.get('traddr')}:{trid.get('trsvcid')}"}
            out.add_state("remote_path_state", PATH_STATES, path.get("state"), **labels)
            for placement in ("direct", "staged"):
                out.add("remote_path_bytes", path.get(f"bytes_{placement}"), **labels,
                        placement=placement)
            for member in ("commands", "work_requests", "doorbells", "system_calls"):
                out.add(f"remote_path_{member}", path.get(member), **labels)


def add_gaps(out, snapshot):
    for gap in snapshot.rows("softsnap_gap_histogram_get"):
        labels = {"vuid": gap.get("vuid"), "kind": gap.get("kind")}
        out.add("gaps", gap.get("count"), **labels)
        out.add("gap_maximum_seconds", scaled(gap.get("max_us"), 1e6), **labels)
        out.add("gap_last_seconds", scaled(gap.get("last_us"), 1e6), **labels)
        buckets = []
        for bucket in gap["buckets"] if isinstance(gap.get("buckets"), list) else []:
            count = number(bucket.get("count")) if isinstance(bucket, dict) else None
            if count is not None:
                upper = scaled(bucket.get("upto_us"), 1e6)
                buckets.append((float("inf") if upper is None else upper, count))
        out.add_histogram("gap_seconds", GAP_BOUNDS, buckets, **labels)


def add_reactors(out, snapshot):
    rate = number(snapshot.object("framework_get_reactors").get("tick_rate"))
    queues = [queue.get("core_id") for controller in snapshot.controllers()
              for queue in controller["queues"]]
    for reactor in snapshot.parts("framework_get_reactors", "reactors"):
        core = reactor.get("lcore")
        out.add("reactor_queues", queues.count(core), core=core)
        for activity in ("busy", "idle"):
            out.add("reactor_seconds", scaled(reactor.get(activity), rate), core=core,
                    activity=activity)


def add_queue_pairs(out, snapshot):
    for reactor in snapshot.parts("softsnap_data_path_get", "reactors"):
        core = reactor.get("core")
        for member in ("queue_pairs", "queues", "staging_bytes", "transfers", "doorbells"):
            out.add(f"data_path_{member}", reactor.get(member), core=core)
        out.add("data_path_bytes", reactor.get("bytes_read"), core=core, operation="read")
        out.add("data_path_bytes", reactor.get("bytes_written"), core=core, operation="write")
    for device in snapshot.rows("softsnap_rdma_resources"):
        for member in ("used", "usable", "advertised"):
            out.add(f"rdma_{member}_queue_pairs", device.get(f"{member}_qps"),
                    device=device.get("name"), kind=device.get("kind"))


def scaled(value, scale):
    """`value / scale`; None without one of them."""
    value = number(value)
    return value / scale if value is not None and scale else None


def length(value):
    return len(value) if isinstance(value, list) else None
