"""The card's commands: firmware settings, power, and the limit of queue pairs."""

import json
import random
import shutil
import signal
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

from harness import BINARIES

RECIPE = "PF_BAR2_ENABLE=0 PER_PF_NUM_SF=1 PF_TOTAL_SF=236 PF_SF_BAR_SIZE=10"
ATTRIBUTES = ("device={} max_qp=131072 max_cq=16777216 max_pd=8388608 max_qp_wr=32768 "
              "max_cqe=4194303")


class Card(unittest.TestCase):
    def setUp(self):
        self.state = Path(tempfile.mkdtemp(prefix="softsnap-card-"))
        self.addCleanup(shutil.rmtree, self.state, True)

    def start(self, line):
        return subprocess.Popen(
            [BINARIES / "softdpu", *line.split(), "--state", self.state],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run_line(self, line, answer=""):
        """Exit code, standard output and standard error."""
        process = self.start(line)
        output, errors = process.communicate(answer, timeout=60)
        return process.returncode, output, errors

    def succeed(self, line, answer=""):
        code, output, errors = self.run_line(line, answer)
        self.assertEqual((code, errors), (0, ""), line)
        return output

    def refuse(self, line, text, code=1):
        before = self.files()
        found, _, errors = self.run_line(line, "y\n")
        self.assertEqual(found, code, line)
        self.assertIn(text, errors)
        self.assertEqual(self.files(), before, line)

    def files(self):
        return {path.name: path.read_bytes() for path in self.state.iterdir()
                if path.name not in ("firmware.lock", "lock")}

    def values(self, key, device="0000:03:00.0"):
        """[Default, Current, Next Boot] of `key`."""
        output = self.succeed(f"mlxconfig -d {device} -e query {key}")
        return [line.replace("*", "").split()[1:] for line in output.splitlines()
                if line.replace("*", "").split()[:1] == [key]][0]

    def made(self, device, *words):
        output = self.succeed(" ".join(["qp-stress", device, *words])).splitlines()
        self.assertEqual(output[0], ATTRIBUTES.format(device))
        self.assertEqual(output[-1], "sleep 0s")
        return output[1:-1]


class QueuePairLimit(Card):
    LIMITED = ["STOP at i=32: Failed to create QP. Errno: 12, Cannot allocate memory"]

    def limited(self, device):
        return self.LIMITED + [f"SUCCESS: created 32 CQ/QP pairs on {device}"]

    def test_the_reported_case_and_its_cure(self):
        for device in ("mlx5_2", "mlx5_3", "mlx5_4"):
            self.assertEqual(self.made(device, "1", "200000"), self.limited(device))
        on_pf = self.made("mlx5_0")
        self.assertEqual(on_pf[-1], "SUCCESS: created 63952 CQ/QP pairs on mlx5_0")
        self.assertEqual(on_pf[0], "created 1000 CQ/QP pairs")
        # The BAR size alone, and settings that only saw a warm reboot, change nothing.
        self.succeed("mlxconfig -d 0000:03:00.0 -y s PF_SF_BAR_SIZE=10 PF_LOG_BAR_SIZE=7")
        self.succeed("power-cycle")
        self.assertEqual(self.made("mlx5_2"), self.limited("mlx5_2"))
        self.succeed(f"mlxconfig -d 0000:03:00.0 s {RECIPE}", answer="y\n")
        self.assertIn("still needs a cold power cycle", self.succeed("reboot --warm"))
        self.assertEqual(self.made("mlx5_2"), self.limited("mlx5_2"))
        self.succeed("power-cycle")
        self.assertEqual(self.made("mlx5_2", "16", "500"),
                         ["SUCCESS: created 500 CQ/QP pairs on mlx5_2"])
        self.assertEqual(self.made("mlx5_3"), self.limited("mlx5_3"))
        self.succeed(f"mlxconfig -d 0000:03:00.1 -y s {RECIPE}")
        self.succeed("power-cycle")
        self.assertEqual(self.made("mlx5_3", "16", "33"),
                         ["SUCCESS: created 33 CQ/QP pairs on mlx5_3"])

    def test_4_kib_pages_have_no_such_limit(self):
        self.assertEqual(self.made("mlx5_2", "16", "5000", "0", "--page-size", "4096")[-1],
                         "SUCCESS: created 5000 CQ/QP pairs on mlx5_2")

    def test_what_cannot_be_is_refused(self):
        self.refuse("qp-stress mlx5_9", "the devices are mlx5_0, mlx5_1")
        self.refuse("qp-stress mlx5_2 --page-size 512", "neither 65536 nor 4096", 64)


class Firmware(Card):
    def test_the_documented_questions_and_answers(self):
        line = "mlxconfig -d /dev/mst/mt41692_pciconf0 s SRIOV_EN=1 NUM_OF_VFS=0x8"
        output = self.succeed(line, answer="y\n")
        for text in ("Device #1:", "Next Boot       New", "Apply new Configuration? (y/n) [n] : ",
                     "Applying... Done!",
                     "-I- Please reboot machine to load new configurations.",
                     "-I- needs a cold power cycle: SRIOV_EN, NUM_OF_VFS"):
            self.assertIn(text, output)
        self.assertEqual(self.values("SRIOV_EN"), ["False(0)", "False(0)", "True(1)"])
        self.succeed("reboot --warm")
        self.assertEqual(self.values("NUM_OF_VFS"), ["0", "0", "8"])
        self.succeed("power-cycle")
        self.assertEqual(self.values("NUM_OF_VFS", "mlx5_1"), ["0", "8", "8"])
        self.succeed("mlxconfig -d 03:00.1 -y reset NUM_OF_VFS")
        self.assertEqual(self.values("NUM_OF_VFS"), ["0", "8", "0"])
        self.succeed("mlxconfig -d 03:00.0 r", answer="yes\n")
        self.assertEqual(self.values("SRIOV_EN"), ["False(0)", "True(1)", "False(0)"])

    def test_refusals_change_nothing(self):
        device = "mlxconfig -d 0000:03:00.0"
        self.succeed(f"{device} -y s PF_TOTAL_SF=1")
        self.refuse(f"{device} s PF_TOTAL_SF=2 PF_TOTAL_SFS=1", "did you mean PF_TOTAL_SF?")
        self.refuse(f"{device} s PF_TOTAL_SF=2 SRIOV_EN=2", "it takes False(0) or True(1)")
        self.refuse(f"{device} s PF_TOTAL_SF", "is not KEY=VALUE")
        self.refuse(f"{device} s", "set needs KEY=VALUE", 64)
        self.refuse(f"{device} reset NONE", "is no parameter")
        self.succeed(f"{device} -y s SRIOV_EN=1 PCI_SWITCH_EMULATION_ENABLE=1")
        self.refuse(f"{device} s VIRTIO_BLK_EMULATION_NUM_VF=251", "set it to 0, or lower")
        self.refuse(f"{device} erase", "is no operation", 64)
        self.refuse("mlxconfig -d mlx5_7 q", "the devices are /dev/mst/mt41692_pciconf0")
        before = self.files()
        code, output, errors = self.run_line(f"{device} s PF_TOTAL_SF=2", "n\n")
        self.assertEqual((code, errors), (1, "-E- Aborted by user.\n"))
        self.assertNotIn("Applying", output)
        self.assertEqual(self.files(), before)

    def test_a_damaged_file_is_refused_and_can_be_restored(self):
        for value in (1, 2):
            self.succeed(f"mlxconfig -d 03:00.0 -y s PF_TOTAL_SF={value}")
        state = self.state / "firmware"
        state.write_bytes(state.read_bytes().replace(b"SF 2", b"SF 3"))
        cure = f"cp {state}.last {state}"
        for line in ("mlxconfig -d 03:00.0 q", "mlxconfig -d 03:00.0 -y s PF_TOTAL_SF=4",
                     "power-cycle", "reboot --warm", "qp-stress mlx5_2"):
            self.refuse(line, cure)
        shutil.copy(f"{state}.last", state)
        self.assertEqual(self.values("PF_TOTAL_SF")[2], "1")

    def test_kill_9_leaves_the_old_value_or_the_new_one(self):
        seed = random.randrange(1 << 32)
        chance = random.Random(seed)
        self.succeed("mlxconfig -d 03:00.0 -y s PF_TOTAL_SF=0")
        known = 0
        for value in range(1, 60):
            process = self.start(f"mlxconfig -d 03:00.0 -y s PF_TOTAL_SF={value}")
            time.sleep(chance.uniform(0, 0.02))
            process.send_signal(signal.SIGKILL)
            output, _ = process.communicate(timeout=60)
            found = int(self.values("PF_TOTAL_SF")[2])
            allowed = [value] if "Done!" in output else [known, value]
            self.assertIn(found, allowed, f"seed {seed}")
            known = found

    def test_commands_at_the_same_time_lose_nothing(self):
        keys = ["PF_TOTAL_SF", "NUM_OF_VFS", "NUM_VF_MSIX", "NVME_EMULATION_NUM_PF",
                "VIRTIO_BLK_EMULATION_NUM_PF", "PF_LOG_BAR_SIZE"]
        running = [self.start(f"mlxconfig -d 03:00.0 -y s {key}=7") for key in keys]
        for process in running:
            process.communicate(timeout=60)
            self.assertEqual(process.returncode, 0)
        for key in keys:
            self.assertEqual(self.values(key)[2], "7", key)


class Doctor(unittest.TestCase):
    def test_both_forms_say_the_same(self):
        def run(*words):
            return subprocess.run([BINARIES / "softdpu", "doctor", *words], text=True,
                                  capture_output=True, timeout=60)
        text, found = run(), run("--json")
        findings = json.loads(found.stdout)
        self.assertEqual(found.returncode, any(x["status"] == "fail" for x in findings))
        self.assertEqual(text.returncode, found.returncode)
        for line, finding in zip(text.stdout.splitlines(), findings, strict=True):
            self.assertEqual(set(finding), {"name", "status", "finding", "cure"})
            self.assertTrue(line.startswith(f"{finding['status']} {finding['name']}: "))


if __name__ == "__main__":
    unittest.main()
