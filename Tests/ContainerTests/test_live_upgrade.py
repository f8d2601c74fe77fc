"""container/live_upgrade against a pretended runtime: every step, every refusal, every kill."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

CONTAINER = Path(__file__).resolve().parents[2] / "container"
FAKE = Path(__file__).resolve().parent / "fake_runtime.py"
sys.path.insert(0, str(CONTAINER / "upgrading"))

import pod_yaml

MEMINFO = "MemTotal: 8000000 kB\nMemAvailable: 4000000 kB\n"


class Upgrade(unittest.TestCase):
    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        for name in ("bin", "conf", "kubelet.d", "root/proc"):
            (self.folder / name).mkdir(parents=True)
        for name in ("podman", "docker", "crictl"):
            path = self.folder / "bin" / name
            path.write_text(f"#!{sys.executable} -IS\n" + FAKE.read_text())
            path.chmod(0o755)
        (self.folder / "root/proc/meminfo").write_text(MEMINFO)
        self.pages(0)
        self.init = self.folder / "conf" / "snap_rpc_init.conf"
        self.init.write_text("nvme_subsystem_create --nqn n\n")
        self.source, self.destination = self.manifest(), self.manifest("doca_snap_new.yaml")
        self.state({"pods": ["snap"], "calls": [], "fail": "",
                    "kubelet": str(self.folder / "kubelet.d"),
                    "controllers": {"snap": ["NVMeCtrl1", "VBlkCtrl1"]}})

    def state(self, value=None):
        path = self.folder / "state.json"
        if value is not None:
            path.write_text(json.dumps(value))
        return json.loads(path.read_text())

    def change(self, **values):
        self.state({**self.state(), **values})

    def pages(self, count):
        place = self.folder / "root/sys/kernel/mm/hugepages/hugepages-2048kB"
        place.mkdir(parents=True, exist_ok=True)
        (place / "free_hugepages").write_text(f"{count}\n")

    def manifest(self, name="doca_snap.yaml", **changes):
        text = (CONTAINER / name).read_text().replace(
            "path: /etc/nvda_snap", f"path: {self.folder}/conf")
        # One processor is enough for these tests.
        text = text.replace("-m 0x2", "-m 0x1").replace(
            "-m 0x1 -r /run/softdpu/rpc/snap.sock", "-m 0x100 -r /run/softdpu/rpc/snap.sock")
        for before, after in changes.items():
            self.assertIn(before, text)
            text = text.replace(before, after)
        path = self.folder / name
        path.write_text(text)
        return path

    def command(self, *options, runtime="podman"):
        return [sys.executable, str(CONTAINER / "live_upgrade"), "--runtime", runtime, "--state",
                str(self.folder / "record"), "--root", str(self.folder / "root"), "--manifests",
                str(self.folder / "kubelet.d"), *options, str(self.source), str(self.destination)]

    def run_command(self, *options, runtime="podman", **variables):
        return subprocess.run(
            self.command(*options, runtime=runtime), capture_output=True, text=True, timeout=60,
            env={"PATH": f"{self.folder}/bin:{os.environ['PATH']}", "FAKE": str(self.folder),
                 **variables})

    def refused(self, text, *options, **settings):
        """Code 2, one clear line, nothing changed."""
        before = self.state()
        ended = self.run_command(*options, **settings)
        self.assertEqual(ended.returncode, 2, ended.stdout + ended.stderr)
        self.assertIn(text, ended.stdout)
        after = self.state()
        self.assertEqual([before[name] for name in ("pods", "controllers")],
                         [after[name] for name in ("pods", "controllers")])
        self.assertIn("nvme_subsystem_create", self.init.read_text())
        self.assertFalse((self.folder / "record").exists())

    def moved(self):
        state = self.state()
        self.assertEqual(state["controllers"]["snap-new"], ["NVMeCtrl1", "VBlkCtrl1"])
        self.assertEqual(state["controllers"]["snap"], [])
        self.restored()

    def restored(self):
        self.assertEqual(self.init.read_text(), "nvme_subsystem_create --nqn n\n")
        self.assertEqual(sorted(os.listdir(self.folder / "conf")), ["snap_rpc_init.conf"])
        self.assertFalse((self.folder / "record").exists())


class Procedure(Upgrade):
    def test_all_the_way(self):
        for runtime in ("podman", "docker"):
            with self.subTest(runtime):
                self.setUp()
                ended = self.run_command(runtime=runtime)
                self.assertEqual(ended.returncode, 0, ended.stdout + ended.stderr)
                self.assertIn("[7/7] restore init files", ended.stdout)
                self.assertIn("2 controllers moved, none left", ended.stdout)
                self.assertEqual(self.state()["pods"], ["snap-new"])
                self.moved()

    def test_all_the_way_by_a_kubelets_folder(self):
        place = self.folder / "kubelet.d"
        self.in_a_kubelets_folder()
        ended = self.run_command(runtime="crictl")
        self.assertEqual(ended.returncode, 0, ended.stdout + ended.stderr)
        kept = place / ".doca_snap.yaml.removed"
        self.assertEqual(sorted(place.iterdir()), [kept, place / "doca_snap_new.yaml"])
        self.assertIn(f"its manifest is kept as {kept}", ended.stdout)
        self.moved()

    def in_a_kubelets_folder(self):
        self.source = self.source.rename(self.folder / "kubelet.d" / "doca_snap.yaml")
        self.change(pods=[])

    def test_killed_at_any_call_it_goes_on(self):
        for runtime in ("podman", "crictl"):
            self.prepare(runtime)
            self.run_command(runtime=runtime)
            count = len(self.state()["calls"])
            self.assertGreater(count, 12)
            for number in range(1, count + 1):
                with self.subTest(number, runtime=runtime):
                    self.killed_and_started_again(number, runtime)

    def prepare(self, runtime):
        self.setUp()
        if runtime == "crictl":
            self.in_a_kubelets_folder()

    def killed_and_started_again(self, number, runtime):
        self.prepare(runtime)
        ended = self.run_command(KILL_AT=str(number), runtime=runtime)
        self.assertEqual(ended.returncode, -signal.SIGKILL)
        # What was called when it was killed comes to its end.
        while len(self.state()["calls"]) < number:
            time.sleep(0.01)
        again = self.run_command(runtime=runtime)
        self.assertEqual(again.returncode, 0, again.stdout + again.stderr)
        if runtime == "podman":
            self.assertEqual(self.state()["pods"], ["snap-new"])
        else:
            self.assertFalse(self.source.exists())
        self.moved()

    def test_a_destination_that_has_something_stays(self):
        """Whatever the tool says: what serves is not removed, and the next run goes on."""
        for code in (1, 3, 137):
            with self.subTest(code):
                self.setUp()
                self.change(fail=code)
                ended = self.run_command()
                self.assertEqual(ended.returncode, 1, ended.stdout)
                self.assertIn(f"ended with code {code}", ended.stdout)
                self.assertIn("both containers stay as they are", ended.stdout)
                self.assertEqual(self.state()["pods"], ["snap", "snap-new"])
                self.change(fail="")
                again = self.run_command()
                self.assertEqual(again.returncode, 0, again.stdout)
                self.moved()

    def test_a_dry_run_changes_nothing(self):
        ended = self.run_command("--dry-run")
        self.assertEqual(ended.returncode, 0, ended.stdout)
        self.assertIn(f"would do: podman play kube --network host {self.destination}", ended.stdout)
        self.assertIn("would do: podman exec snap-new snap_live_upgrade -s "
                      "/run/softdpu/rpc/snap.sock -d /run/softdpu/rpc/snap-new.sock\n",
                      ended.stdout)
        self.assertEqual(self.state()["pods"], ["snap"])
        self.restored()

    def test_undone_before_anything_moves(self):
        for number in range(5, 12):
            with self.subTest(number):
                self.setUp()
                self.run_command(KILL_AT=str(number))
                while len(self.state()["calls"]) < number:
                    time.sleep(0.01)
                ended = self.run_command("--abort")
                self.assertEqual(ended.returncode, 0, ended.stdout)
                self.assertEqual(self.state()["pods"], ["snap"])
                self.restored()

    def test_what_has_begun_to_move_is_not_undone(self):
        self.change(fail="half_move")
        ended = self.run_command()
        self.assertEqual(ended.returncode, 1)
        self.assertIn("snap still has NVMeCtrl1", ended.stdout)
        self.assertIn("both containers stay as they are", ended.stdout)
        ended = self.run_command("--abort")
        self.assertEqual(ended.returncode, 2)
        self.assertIn("start it again without --abort", ended.stdout)

    def test_what_fails_before_leaves_the_source_as_it_was(self):
        for fault, text in [("deploy", "no room"), ("answer", "its log ends with:\nits last line"),
                            ("move", "no memory; rolled back")]:
            with self.subTest(fault):
                self.setUp()
                self.change(fail=fault)
                variables = {"SOFTSNAP_START_SECONDS": "1"}
                ended = self.run_command(**variables)
                self.assertEqual(ended.returncode, 1, ended.stdout + ended.stderr)
                self.assertIn(text, ended.stdout)
                self.assertIn("snap goes on serving; nothing has been moved", ended.stdout)
                self.assertEqual(self.state()["pods"], ["snap"])
                self.restored()


class Refused(Upgrade):
    def test_manifests(self):
        for text, content in [
                ("No such file", None), ("is missing", "kind: Pod\n"),
                ("line 2: a tab", "kind: Pod\n\tx: 1\n"), ("line 1: neither", "x\n")]:
            with self.subTest(text):
                self.setUp()
                if content is None:
                    self.destination.unlink()
                else:
                    self.destination.write_text(content)
                self.refused(text)

    def test_the_two_have_to_differ(self):
        for change, text in [
                ({"name: snap-new": "name: snap"}, "choose another one, such as snap-new"),
                ({"snap-new.sock": "snap.sock"}, "the RPC socket /run/softdpu/rpc/snap.sock is "
                                                 "the source's"),
                ({"-m 0x1": "-m 0x101"}, "has core 8, which the source uses")]:
            with self.subTest(text):
                self.setUp()
                self.manifest("doca_snap_new.yaml", **change)
                self.refused(text)

    def test_a_volume_that_is_not_shared(self):
        self.manifest("doca_snap_new.yaml", **{"path: /run/softdpu": "path: /run/other"})
        self.refused("/run/softdpu/rpc is not mounted there; give both containers the volume")
        self.manifest("doca_snap_new.yaml", **{" -r /run/softdpu/rpc/snap-new.sock": ""})
        self.refused("the RPC socket /var/tmp/spdk.sock is on no volume")

    def test_too_few_cores(self):
        self.manifest("doca_snap_new.yaml", **{"-m 0x1": "-m [900]"})
        self.refused("has core 900, and this machine has cores 0 to")

    def test_too_few_huge_pages(self):
        self.manifest("doca_snap_new.yaml", **{
            'memory: "256Mi"': 'memory: "256Mi"\n          hugepages-2Mi: "4Gi"'})
        self.pages(1024)
        self.refused("requests 4096 MiB of hugepages-2Mi, and 2048 MiB are free; allocate 1024 "
                     "pages more")
        self.pages(2048)
        ended = self.run_command("--dry-run")
        self.assertEqual(ended.returncode, 0, ended.stdout)

    def test_too_little_memory(self):
        self.manifest("doca_snap_new.yaml", **{'memory: "256Mi"': 'memory: "64Gi"'})
        self.refused("requests 65536 MiB of memory, and 3906 MiB are available")

    def test_init_files_of_its_own(self):
        other = self.folder / "conf2"
        other.mkdir()
        text = self.destination.read_text().replace(f"{self.folder}/conf", str(other))
        self.destination.write_text(text)
        (other / "spdk_rpc_init.conf").write_text("# nothing\n\n")
        self.assertEqual(self.run_command("--dry-run").returncode, 0)
        (other / "spdk_rpc_init.conf").write_text("bdev_null_create N 1 512\n")
        self.refused("conf2/spdk_rpc_init.conf: the destination's init file has lines")

    def test_what_another_upgrade_has_left(self):
        left = Path(f"{self.init}.before-upgrade")
        left.write_text("x\n")
        self.refused("left by another upgrade; move it back")

    def test_an_image_that_is_not_there(self):
        self.manifest("doca_snap_new.yaml", **{"softsnap:latest": "none:1"})
        self.refused("no image localhost/none:1 here; pull or load it first")

    def test_a_source_that_does_not_run(self):
        self.change(pods=[])
        self.refused("pod snap of ")

    def test_a_destination_that_runs_already(self):
        self.change(pods=["snap", "snap-new"])
        self.refused("runs already; remove it, or choose another name")

    def test_a_runtime_that_is_not_there(self):
        (self.folder / "bin" / "docker").unlink()
        # Another one may be installed.
        self.refused("no docker on PATH", runtime="docker", PATH=f"{self.folder}/bin:/nowhere:"
                     + os.path.dirname(sys.executable))

    def test_a_folder_of_manifests_that_is_not_there(self):
        (self.folder / "kubelet.d").rmdir()
        self.refused("name the kubelet's staticPodPath", runtime="crictl")

    def test_two_at_once(self):
        with open(self.folder / "record.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.refused("another upgrade runs; wait for its end")

    def test_another_than_the_unfinished_one(self):
        self.run_command(KILL_AT="9")
        unfinished = self.run_command(runtime="docker")
        self.assertEqual(unfinished.returncode, 2)
        self.assertIn("an upgrade is not finished: podman", unfinished.stdout)
        self.assertEqual(self.run_command("--abort").returncode, 0)

    def test_a_damaged_record(self):
        (self.folder / "record").write_text("{")
        ended = self.run_command()
        self.assertEqual(ended.returncode, 2)
        self.assertIn("look which of the two containers serves", ended.stdout)

    def test_nothing_to_abort(self):
        self.refused("no upgrade has been begun", "--abort")


class Reader(unittest.TestCase):
    def test_what_it_reads(self):
        text = ("a: 1 # one\nb:\n  - name: x\n    value: \"y: #z\"\n  - plain\n"
                "c: [\"p\", q]\nd:\n- 'it''s'\ne:\n")
        self.assertEqual(pod_yaml.parse(text), {
            "a": "1", "b": [{"name": "x", "value": "y: #z"}, "plain"], "c": ["p", "q"],
            "d": ["it's"], "e": None})

    def test_what_it_refuses(self):
        for text in ("a: &x 1", "a: |", "a: {b: 1}", "a: 1\na: 2", "a: \"b", "a: 'b",
                     "  a: 1\nb: 2", "a\n", "a:\n  b: 1\n c: 2"):
            with self.subTest(text), self.assertRaisesRegex(pod_yaml.YAMLError, "line [123]"):
                pod_yaml.parse(text)


if __name__ == "__main__":
    unittest.main()
