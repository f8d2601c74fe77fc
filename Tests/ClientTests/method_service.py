"""A service that answers by method, for as many clients as come; `lively` gives the answers of one
with a bit of everything."""

import base64
import json
import os
import socket
import struct
import tempfile
import threading
import time

from fake_service import SILENCE, Error


class MethodService:
    """Answers each request with `answers[method]`: a result, an `Error`, a function of the params,
    bytes after which it closes, or `SILENCE`. A method that is not there is refused."""

    def __init__(self, answers, path=None, delay=0):
        self.answers = answers
        self.delay = delay
        self.calls = []
        self.address = path or os.path.join(tempfile.mkdtemp(), "rpc.sock")
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(self.address)
        self.listener.listen(64)
        self.clients = []

    def __enter__(self):
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        os.unlink(self.address)
        end(self.listener)
        self.drop_clients()

    def drop_clients(self):
        for client in self.clients:
            end(client)

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            self.clients.append(client)
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        text = ""
        try:
            while data := client.recv(65536):
                text += data.decode()
                try:
                    request, end = json.JSONDecoder().raw_decode(text)
                except ValueError:
                    continue
                text = text[end:]
                if not self.answer(client, request):
                    return
        except OSError:
            pass
        finally:
            client.close()

    def answer(self, client, request):
        self.calls.append(request["method"])
        time.sleep(self.delay)
        answer = self.answers.get(request["method"], Error(-32601, "Method not found"))
        if callable(answer):
            answer = answer(request.get("params"))
        if answer is SILENCE:
            client.recv(1)
            return False
        if isinstance(answer, bytes):
            client.sendall(answer)
            return False
        reply = {"jsonrpc": "2.0", "id": request["id"]}
        if isinstance(answer, Error):
            reply["error"] = {"code": answer.code, "message": answer.message}
        else:
            reply["result"] = answer
        client.sendall(json.dumps(reply).encode())
        return True


def end(stream):
    try:
        stream.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    stream.close()


def histogram(counts, shift=7, rate=1_000_000_000):
    """An answer of bdev_get_histogram: `counts` by number of the bucket."""
    buckets = [counts.get(index, 0) for index in range((64 - shift + 1) << shift)]
    data = base64.b64encode(struct.pack(f"<{len(buckets)}Q", *buckets)).decode()
    return {"histogram": data, "bucket_shift": shift, "tsc_rate": rate}


VIRTIO, NVME = "SOFTSNAP0001VBLKS0D0F0", "SOFTSNAP0001NVMES0D0F0"


def queue(number, core, reads, writes):
    return {"queue_id": number, "core_id": core, "read_io_count": reads, "write_io_count": writes,
            "flush_io_count": 0}


def iostat(name, reads, writes, ticks):
    return {"name": name, "bytes_read": reads * 4096, "num_read_ops": reads,
            "bytes_written": writes * 4096, "num_write_ops": writes, "bytes_unmapped": 0,
            "num_unmap_ops": 0, "read_latency_ticks": ticks, "write_latency_ticks": 0,
            "unmap_latency_ticks": 0, "io_error": {"failed": 2}}


def lively(reads=9, writes=4):
    """Answers to all methods; both controllers have done so many operations."""
    counts = {"read_io_count": reads, "write_io_count": writes, "flush_io_count": 1}
    path = {"state": "enabled", "cntlid": 1, "bytes_direct": 4096, "bytes_staged": 512,
            "commands": 3, "work_requests": 6, "doorbells": 2, "system_calls": 1,
            "trid": {"trtype": "TCP", "traddr": "192.0.2.7", "trsvcid": "4420", "subnqn": "n"}}
    vf = {"emulation_type": "VBLK", "pf_index": 0, "vf_index": 0, "pci_bdf": "00:00.0",
          "vuid": VIRTIO + "VF1", "num_msix": 8, "enabled": False, "host_connected": False}
    return {
        "emulation_function_list": [
            {"emulation_type": "VBLK", "pf_index": 0, "pci_bdf": "20:00.0", "vuid": VIRTIO,
             "ctrl_id": "V1", "vfs": [vf], "num_msix": 65, "free_msix": 3, "num_enabled_vfs": 0,
             "driver_bound": True, "host_connected": True, "hotplug state": "POWER_ON"},
            {"emulation_type": "NVME", "pf_index": 0, "pci_bdf": "20:00.2", "vuid": NVME,
             "ctrl_id": "N1", "vfs": [], "num_msix": 64, "driver_bound": True}],
        "virtio_blk_controller_list": [
            {"ctrl_id": "V1", "vuid": VIRTIO, "state": "STARTED", "bdev": "Malloc0",
             "num_queues": 2, "free_queues": 5, "data_path": "mapped"}],
        "nvme_controller_list": [
            {"ctrl_id": "N1", "vuid": NVME, "state": "SUSPENDED", "nqn": "nqn.a", "num_queues": 1,
             "live_update": "listener", "namespaces": [{"nsid": 1, "bdev": "Nvme0n1"}]}],
        "virtio_blk_controller_dbg_io_stats_get": {"controllers": [
            {"ctrl_id": "V1", **counts, "bytes_direct": reads * 3000, "bytes_staged": reads * 1000,
             "queues": [queue(0, 0, reads, 0), queue(1, 1, 0, writes)]}]},
        "nvme_controller_dbg_io_stats_get": {"controllers": [
            {"ctrl_id": "N1", **counts, "bytes_read": reads * 4096, "bytes_written": writes * 4096,
             "bytes_direct": (reads + writes) * 4096, "bytes_staged": 0,
             "queues": [{**queue(1, 0, reads, writes), "err_io_count": 1}]}]},
        "bdev_get_iostat": {"tick_rate": 1_000_000_000, "ticks": 5, "bdevs": [
            iostat("Malloc0", reads, writes, (reads + writes) * 50_000), iostat("Idle", 0, 0, 0),
            iostat("Nvme0n1", reads, writes, 26_000)]},
        # Bucket 896 holds 8192 to 8255 ns.
        "bdev_get_histogram": lambda params: histogram(
            {3: 1, 896: reads} if params["name"] == "Malloc0" else {}),
        "softsnap_gap_histogram_get": [
            {"vuid": VIRTIO, "kind": "handover", "count": 4, "max_us": 90_000_000, "last_us": 412,
             "buckets": [{"upto_us": 32, "count": 1}, {"upto_us": 512, "count": 2},
                         {"upto_us": None, "count": 1}]}],
        "softsnap_service_get": {"instance": 3381, "dpu": 902, "embedded": False},
        "softsnap_recovery_get": {"state": "done", "recovered": 3, "milliseconds": 12,
                                  "dropped": [], "failed": [{}], "damage": None},
        "nvme_subsystem_list": [{"nqn": "nqn.a", "controllers": [{"ctrl_id": "N1"}]}],
        "nvme_namespace_list": [{"nsid": 1, "nqn": "nqn.a", "bdev": "Nvme0n1", "ready": "Yes",
                                 "controllers": [{"ctrl_id": "N1"}]}],
        "softsnap_data_path_get": {
            "data_path": "rdma", "device": "rxe0", "queue_pairs": 1, "reactors": [
                {"core": 0, "queue_pairs": 1, "queues": 2, "staging_bytes": 33554432,
                 "transfers": 41320, "doorbells": 9870, "bytes_read": 842, "bytes_written": 839}]},
        "softsnap_rdma_resources": [{"name": "mlx5_2", "kind": "SF", "advertised_qps": 131072,
                                     "usable_qps": 32, "used_qps": 1}],
        "framework_get_reactors": {"tick_rate": 1_000_000_000, "reactors": [
            {"lcore": 0, "busy": 1_500_000_000, "idle": 500_000_000}]},
        "bdev_nvme_get_controllers": [{"name": "Nvme0", "ctrlrs": [path]}],
    }
