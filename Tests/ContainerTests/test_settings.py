"""What the container makes of its environment, and what it wants mended first."""

import os
import socket
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

CONTAINER = Path(__file__).resolve().parents[2] / "container"
sys.path.insert(0, str(CONTAINER / "service"))

import checks
import initialisation
import settings as environment


class Folder(unittest.TestCase):
    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))

    def file(self, name, text=""):
        path = self.folder / name
        path.write_text(text)
        return str(path)

    def refused(self, text, body, *arguments):
        with self.assertRaises(environment.Refusal) as refusal:
            body(*arguments)
        self.assertIn(text, str(refusal.exception))


class Variables(Folder):
    def test_what_is_left_out_has_snaps_defaults(self):
        found = environment.read({})
        self.assertEqual(found.arguments, ["--dpu", "/run/softdpu/control/dpu.sock"])
        self.assertEqual((found.socket, found.cores), ("/var/tmp/spdk.sock", "0x1"))
        self.assertEqual((found.stop_seconds, found.log_file, found.json_file), (10, None, None))
        self.assertFalse(found.keeps_going or found.waits_for_rpc or found.uses_rdma)
        self.assertEqual(found.remarks, [])

    def test_app_args_go_to_the_service(self):
        found = environment.read({"APP_ARGS": "-m 0x6 -r /run/a.sock --wait-for-rpc --dpu /d"})
        self.assertEqual(
            found.arguments, ["-m", "0x6", "-r", "/run/a.sock", "--wait-for-rpc", "--dpu", "/d"])
        self.assertEqual((found.socket, found.cores, found.dpu), ("/run/a.sock", "0x6", "/d"))
        self.assertTrue(found.waits_for_rpc)
        found = environment.read({"APP_ARGS": "--data-path=rdma --rpc-socket=/b --dpu 1.2.3.4:5"})
        self.assertEqual((found.uses_rdma, found.socket, found.dpu), (True, "/b", None))

    def test_where_figures_are_given(self):
        for value in ("127.0.0.1:9464", "unix:/run/figures.sock", "[::1]:80", "node:9464"):
            found = environment.read({"SOFTSNAP_METRICS": value})
            self.assertEqual((found.metrics, found.remarks), (value, []))
        self.assertIsNone(environment.read({"SOFTSNAP_METRICS": ""}).metrics)
        for value in ("9464", "127.0.0.1", "unix:", "unix:figures", "/run/x:1", "a b:1"):
            self.refused(f"SOFTSNAP_METRICS={value}: it may be unix:PATH or HOST:PORT",
                         environment.read, {"SOFTSNAP_METRICS": value})

    def test_what_a_service_outside_containers_is_given(self):
        """set_environment_variables.sh: names that count, with their defaults."""
        ended = subprocess.run(
            ["env", "-i", "/bin/sh", "-c", '. "$0"; env', CONTAINER / "bin" /
             "set_environment_variables.sh"], capture_output=True, text=True, check=True)
        given = dict(line.split("=", 1) for line in ended.stdout.splitlines())
        names = {name for name in given if name not in ("PWD", "_", "SHLVL", "OLDPWD")}
        self.assertEqual(names - environment.HONOURED - set(environment.CHOICES), set())
        self.assertEqual(environment.read(given).remarks, [])

    def test_options_of_spdk_that_mean_nothing_here_are_said(self):
        found = environment.read({"APP_ARGS": "-s 2048 --iova-mode=va -m 0x1"})
        self.assertEqual(found.arguments[:2], ["-m", "0x1"])
        self.assertEqual(
            [line.split(":")[0] for line in found.remarks],
            ["-s 2048 of APP_ARGS has no effect here",
             "--iova-mode va of APP_ARGS has no effect here"])

    def test_an_embedded_dpu_is_said(self):
        found = environment.read({"SOFTSNAP_DPU": "embedded"})
        self.assertEqual((found.arguments, found.dpu), ([], None))
        self.assertIn("end with this container", found.remarks[0])

    def test_a_variable_without_effect_is_one_line_with_its_reason(self):
        for name, value in [
                ("NVME_BDEV_RESET_ENABLE", "0"), ("VBLK_RECOVERY_SHM", "0"),
                ("VIRTIO_EMU_PROVIDER", "dpa"), ("NVME_EMU_PROVIDER", "dpa"),
                ("dpa_virtq_split_core_mask", "0xf"),
                ("IO_CORE_DISTRIBUTION_POLICY", "weighted_rr"),
                ("SNAP_EMULATION_MANAGER", "mlx5_1"), ("SNAP_MEMPOOL_SIZE_MB", "64"),
                ("XLIO_RX_BUFS", "4096"), ("SNAP_QUEUE_PROVIDER", "1"), ("LIBSNAP_DPA_DIR", "/x")]:
            with self.subTest(name):
                remarks = environment.read({name: value}).remarks
                self.assertEqual(len(remarks), 1)
                self.assertTrue(remarks[0].startswith(f"{name}={value} has no effect here: "))

    def test_what_says_what_is_so_anyway_is_no_remark(self):
        found = environment.read({
            "NVME_BDEV_RESET_ENABLE": "1", "VIRTIO_EMU_PROVIDER": "dpu", "SNAP_LOG_FILE": "/l",
            "IO_CORE_DISTRIBUTION_POLICY": "none", "SNAP_EMULATION_MANAGER": "mlx5_0",
            "SNAP_RDMA_ZCOPY_ENABLE": "0", "SNAP_RPC_LOG_ENABLE": "0", "SPDK_XLIO_PATH": "/x",
            "SUPERVISOR_STOPWAITSECS": "30", "HOME": "/"})
        self.assertEqual(found.remarks, [])
        self.assertEqual((found.stop_seconds, found.log_file), (30, "/l"))

    def test_a_value_that_may_not_be_is_refused(self):
        for name, value, cure in [
                ("SNAP_RDMA_ZCOPY_ENABLE", "yes", "may be 0 or 1"),
                ("SNAP_RPC_LOG_ENABLE", "2", "may be 0 or 1"),
                ("VIRTIO_EMU_PROVIDER", "arm", "may be dpu or dpa"),
                ("IO_CORE_DISTRIBUTION_POLICY", "rr", "may be none or weighted_rr"),
                ("SUPERVISOR_STOPWAITSECS", "0", "from 1 to 3600"),
                ("SUPERVISOR_STOPWAITSECS", "-1", "from 1 to 3600"),
                ("SUPERVISOR_STOPWAITSECS", "ten", "from 1 to 3600"),
                ("SNAP_MEMPOOL_SIZE_MB", "63", "from 64 to"),
                ("SOFTSNAP_INIT_KEEP_GOING", "y", "may be 0 or 1"),
                ("SOFTSNAP_DPU", "no", "the path of a socket, or embedded"),
                ("APP_ARGS", "-m '0x1", "quote it as for a shell")]:
            with self.subTest(name, value=value):
                self.refused(cure, environment.read, {name: value})
                self.refused(f"{name}={value}", environment.read, {name: value})


class InitFiles(Folder):
    def test_the_default_ones_are_taken_if_they_are_there(self):
        with mock.patch.object(environment, "CONFIGURATION", str(self.folder)):
            self.assertIsNone(environment.read({}).spdk_file)
            spdk = self.file("spdk_rpc_init.conf")
            self.assertEqual(environment.read({}).spdk_file, spdk)
            self.assertIsNone(environment.read({"SPDK_RPC_INIT_CONF": ""}).spdk_file)

    def test_one_that_is_named_has_to_be_there(self):
        for name in ("SPDK_RPC_INIT_CONF", "SNAP_RPC_INIT_CONF", "SPDK_RPC_INIT_CONF_JSON"):
            with self.subTest(name):
                self.refused(f"{name}=/none: there is no such file", environment.read,
                             {name: "/none"})

    def test_a_damaged_one_is_refused_before_the_start(self):
        path = self.folder / "init"
        path.write_bytes(b"bdev_null_create \xff\xfe")
        self.refused("not text", checks.check_init_files,
                     environment.read({"SNAP_RPC_INIT_CONF": str(path)}))

    def test_json_that_is_no_configuration_is_refused(self):
        for text in ("{", "[]", '{"subsystems": 1}', '{"subsystems": [{"config": [{}]}]}'):
            with self.subTest(text):
                found = environment.read({"SPDK_RPC_INIT_CONF_JSON": self.file("json", text)})
                self.refused("no configuration", initialisation.carry_out, found)

    def clients(self, code):
        """Clients that note their arguments, and end with `code`."""
        for name in ("spdk_rpc.py", "snap_rpc.py"):
            path = Path(self.file(name, f'#!/bin/sh\necho {name} "$@" >> {self.folder}/calls\n'
                                        f"exit {code}\n"))
            path.chmod(0o755)

    def test_spdks_lines_come_first(self):
        self.clients(0)
        found = environment.read({"SPDK_RPC_INIT_CONF": self.file("a"), "APP_ARGS": "-r /s",
                                  "SNAP_RPC_INIT_CONF": self.file("b")})
        initialisation.carry_out(found, self.folder)
        self.assertEqual(
            (self.folder / "calls").read_text().splitlines(),
            [f"spdk_rpc.py -s /s -t 300 --init-file {self.folder}/a",
             f"snap_rpc.py -s /s -t 300 --init-file {self.folder}/b"])

    def test_a_line_that_fails_ends_the_start(self):
        self.clients(1)
        files = {"SPDK_RPC_INIT_CONF": self.file("a"), "SNAP_RPC_INIT_CONF": self.file("b")}
        self.refused("a: the line above failed", initialisation.carry_out,
                     environment.read(files), self.folder)
        self.assertEqual(len((self.folder / "calls").read_text().splitlines()), 1)
        found = environment.read({**files, "SOFTSNAP_INIT_KEEP_GOING": "1"})
        initialisation.carry_out(found, self.folder)
        lines = (self.folder / "calls").read_text().splitlines()
        self.assertEqual([line.endswith("--keep-going") for line in lines], [False, True, True])


class Machine(Folder):
    def test_a_dpu_that_comes_late_is_waited_for(self):
        found = environment.read({"SOFTSNAP_DPU": str(self.folder / "dpu.sock")})
        said, listener = [], socket.socket(socket.AF_UNIX)
        checks.wait_for_dpu(found, said.append, 5, lambda _: listener.bind(found.dpu))
        listener.close()
        self.assertEqual(len(said), 1)

    def test_without_a_dpu_nothing_starts(self):
        found = environment.read({"SOFTSNAP_DPU": "/none/control/dpu.sock"})
        self.refused("whose directory /none is mounted here as well", checks.wait_for_dpu,
                     found, lambda _: None, 2, lambda _: None)

    def test_a_socket_where_another_service_answers_is_refused(self):
        path = str(self.folder / "s.sock")
        found = environment.read({"APP_ARGS": f"-r {path}"})
        checks.check_socket(found)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()
            self.refused(f"-r {path}: another service answers", checks.check_socket, found)
        checks.check_socket(found)

    def test_a_core_belongs_to_one_service(self):
        first = environment.read({"APP_ARGS": "-m 0x3"})
        held = checks.claim_cores(first, str(self.folder / "cores"))
        self.assertEqual(len(held), 2)
        second = environment.read({"APP_ARGS": "-m [1,4-5]"})
        claim = ("import sys, json; sys.path.insert(0, sys.argv[1]); import checks, settings\n"
                 "checks.claim_cores(settings.Settings(cores=sys.argv[2]), sys.argv[3])")

        def elsewhere(cores):
            return subprocess.run(
                [sys.executable, "-c", claim, str(CONTAINER / "service"), cores,
                 str(self.folder / "cores")], capture_output=True, text=True)
        self.assertIn("core 1 belongs to another service", elsewhere(second.cores).stderr)
        self.assertEqual(elsewhere("[4-5]").returncode, 0)
        for descriptor in held:
            os.close(descriptor)
        self.assertEqual(elsewhere(second.cores).returncode, 0)

    def test_cores_that_are_shared_on_purpose_are_not_claimed(self):
        found = environment.read({"SOFTSNAP_SHARE_CORES": "1"})
        self.assertEqual(checks.claim_cores(found, str(self.folder / "cores")), [])

    def test_cores_are_a_mask_or_a_list(self):
        for text, found in [("0x5", [0, 2]), ("[0,2-3]", [0, 2, 3]), ("x", []), ("[a]", [])]:
            with self.subTest(text):
                self.assertEqual(checks.cores(text), found)

    def test_too_little_memory_is_refused(self):
        (self.folder / "memory.max").write_text(str(32 << 20))
        self.refused("is 32 MiB, and the service needs 64", checks.check_memory, self.folder)
        for text in ("max", str(1 << 30)):
            (self.folder / "memory.max").write_text(text)
            checks.check_memory(self.folder)

    def test_rdma_wants_memory_that_may_be_locked(self):
        found = environment.read({"APP_ARGS": "--data-path rdma"})
        limits = mock.patch.object(checks.resource, "getrlimit", return_value=(8 << 20, 8 << 20))
        with limits:
            self.refused("may lock 8 MiB", checks.check_locked_memory, found)
            checks.check_locked_memory(environment.read({}))

    def test_a_socket_needs_a_directory_that_can_be_written(self):
        found = environment.read({"APP_ARGS": "-r /proc/none/s.sock"})
        self.refused("mount a volume that can be written", checks.check_directory, found)


class Entrypoint(Folder):
    def run_entrypoint(self, *arguments, **variables):
        return subprocess.run(
            [str(CONTAINER / "bin" / "entrypoint"), *arguments], capture_output=True, text=True,
            env={"PATH": os.environ["PATH"], "SOFTSNAP_REFUSAL": str(self.folder / "refusal"),
                 **variables})

    def test_a_refusal_is_one_line_and_code_2(self):
        ended = self.run_entrypoint(SNAP_RPC_LOG_ENABLE="maybe")
        self.assertEqual(ended.returncode, 2)
        self.assertEqual(
            ended.stdout, "entrypoint: SNAP_RPC_LOG_ENABLE=maybe: it may be 0 or 1; change it, or "
                          "leave it out\n")
        self.assertEqual(ended.stderr, "")

    def test_another_command_is_carried_out(self):
        self.assertEqual(self.run_entrypoint("echo", "hello").stdout, "hello\n")

    def test_help_has_an_example(self):
        ended = self.run_entrypoint("--help")
        self.assertEqual((ended.returncode, "podman run" in ended.stdout), (0, True))


if __name__ == "__main__":
    unittest.main()
