"""The documented command lines of hot plug and MSI-X, in every form in which texts write them."""

import json
import unittest

from fake_service import Error, FakeService
from test_clients import Base, run

IDENTITY = ("--vid 0x1af4 --id 4162 --ssid 0x2 --ssvid 6900 --revid 1 --class_code 0x010000 "
            "--num_msix 9 --total_vf 0")
IDENTITY_PARAMS = {"vid": 0x1af4, "id": 4162, "ssid": 2, "ssvid": 6900, "revid": 1,
                   "class_code": 0x10000, "num_msix": 9, "total_vf": 0}
BLOCK = "--bdev Malloc0 --num_queues 8 --queue_depth 64 --transitional_device"
BLOCK_PARAMS = {"bdev": "Malloc0", "num_queues": 8, "queue_depth": 64,
                "transitional_device": True}
VUID = "MT2333XZ0VJQVBLKS1D0F0"

# What a line sends; None for no params.
LINES = [
    ("emulation_function_list", None),
    ("emulation_function_list -a", {"all": True}),
    ("emulation_function_list --all", {"all": True}),
    ("virtio_blk_function_create", None),
    (f"virtio_blk_function_create {IDENTITY} {BLOCK}", {**IDENTITY_PARAMS, **BLOCK_PARAMS}),
    ("nvme_function_create", None),
    (f"nvme_function_create {IDENTITY}", IDENTITY_PARAMS),
    (f"virtio_blk_function_destroy --vuid {VUID}", {"vuid": VUID}),
    ("virtio_blk_function_destroy --vhca_id 7", {"vhca_id": 7}),
    (f"nvme_function_destroy --vuid {VUID}", {"vuid": VUID}),
    ("nvme_function_destroy --vhca_id 7", {"vhca_id": 7}),
    (f"virtio_blk_emulation_device_attach {IDENTITY} {BLOCK}",
     {**IDENTITY_PARAMS, **BLOCK_PARAMS}),
    (f"nvme_emulation_device_attach {IDENTITY} --protocol nvme",
     {**IDENTITY_PARAMS, "protocol": "nvme"}),
    (f"emulation_device_detach_prepare --vuid {VUID}", {"vuid": VUID}),
    ("emulation_device_detach_prepare --vhca_id 7", {"vhca_id": 7}),
    ("emulation_device_detach_prepare --ctrl VblkCtrl1", {"ctrl_id": "VblkCtrl1"}),
    ("emulation_device_detach_prepare -c VblkCtrl1", {"ctrl_id": "VblkCtrl1"}),
    (f"emulation_device_detach --vuid {VUID}", {"vuid": VUID}),
    ("emulation_device_detach --vhca_id 7 --force", {"vhca_id": 7, "force": True}),
    ("virtio_blk_controller_create --pf_id 0 --dynamic_msix --bdev Malloc0",
     {"pf_id": 0, "dynamic_msix": True, "bdev": "Malloc0"}),
    ("virtio_blk_controller_create --pf_id 0 --vf_id 3 --vf_num_msix 4 -c V",
     {"pf_id": 0, "vf_id": 3, "vf_num_msix": 4, "ctrl_id": "V"}),
    (f"virtio_blk_controller_create --vuid {VUID}VF1", {"vuid": f"{VUID}VF1"}),
    ("virtio_blk_controller_create --pci_bdf 26:0c.1", {"pci_bdf": "26:0c.1"}),
    ("virtio_blk_controller_destroy -c V --release_msix", {"ctrl_id": "V", "release_msix": True}),
    ("virtio_blk_controller_destroy --ctrl V --force --release_msix",
     {"ctrl_id": "V", "force": True, "release_msix": True}),
    ("virtio_blk_controller_modify -c V --num_queues 8 --num_msix 10",
     {"ctrl_id": "V", "num_queues": 8, "num_msix": 10}),
    ("virtio_blk_controller_modify --ctrl V --num_msix 0xa", {"ctrl_id": "V", "num_msix": 10}),
    ("softsnap_msix_plan -c V --vfs 8,4,0x4", {"ctrl_id": "V", "vfs": [8, 4, 4]}),
    ("softsnap_msix_plan --pf_id 0 --count 125 --num_msix 4",
     {"pf_id": 0, "count": 125, "num_msix": 4}),
    (f"softsnap_msix_plan --vuid {VUID} --vfs 2", {"vuid": VUID, "vfs": [2]}),
]

# Methods of both emulation types that name a controller.
for kind in ("virtio_blk", "nvme"):
    for verb in ("hotplug", "hotunplug"):
        for option in ("-c", "--ctrl"):
            LINES.append((f"{kind}_controller_{verb} {option} C", {"ctrl_id": "C"}))
        LINES.append((f"{kind}_controller_{verb} -c C --wait_for_done",
                      {"ctrl_id": "C", "wait_for_done": True}))
    for form in ("C", "-c C", "--ctrl C"):
        LINES.append((f"{kind}_controller_vfs_msix_reclaim {form}", {"ctrl_id": "C"}))

WRONG = [
    "virtio_blk_function_create Malloc0", "virtio_blk_function_create --vid x",
    "virtio_blk_controller_hotplug", "virtio_blk_controller_hotplug C",
    "virtio_blk_controller_vfs_msix_reclaim", "virtio_blk_controller_vfs_msix_reclaim C -c C",
    "virtio_blk_controller_vfs_msix_reclaim C D", "nvme_controller_vfs_msix_reclaim",
    "virtio_blk_controller_modify --num_queues 8", "softsnap_msix_plan -c V --vfs 8,x",
    "softsnap_msix_plan -c V --vfs", "nvme_emulation_device_attach --protocol scsi",
    "nvme_function_create --bdev Malloc0",
]


class Lines(Base):
    def test_every_documented_form(self):
        code, output, error = run("snap_rpc.py", "--dry-run",
                                  stdin="\n".join(line for line, _ in LINES))
        self.assertEqual((code, error), (0, ""))
        requests = [json.loads(text) for text in output.split("Request:\n")[1:]]
        self.assertEqual(len(requests), len(LINES))
        for (line, params), request in zip(LINES, requests):
            with self.subTest(line):
                self.assertEqual(request["method"], line.split()[0])
                self.assertEqual(request.get("params"), params)

    def test_wrong_forms_are_refused_with_the_usage(self):
        for line in WRONG:
            with self.subTest(line):
                code, output, error = run("snap_rpc.py", *line.split())
                self.assertEqual((code, output), (2, ""))
                self.assertTrue(error.startswith("usage: snap_rpc.py "), error)

    def test_the_other_client_does_not_have_them(self):
        code, _, _ = run("spdk_rpc.py", "virtio_blk_function_create")
        self.assertEqual(code, 2)


class Printing(Base):
    def test_a_created_function_is_indented_in_its_order(self):
        # Scripts cut the VUID out of the third line.
        self.check("snap_rpc.py", "virtio_blk_function_create",
                   [{"vhca_id": 7, "vuid": VUID}],
                   f'{{\n  "vhca_id": 7,\n  "vuid": "{VUID}"\n}}\n')

    def test_a_bare_vuid_of_an_old_service_is_printed_bare(self):
        self.check("snap_rpc.py", "nvme_emulation_device_attach", [VUID], VUID + "\n")

    def test_true_is_not_printed(self):
        for line in ("virtio_blk_controller_hotplug -c C --wait_for_done",
                     "virtio_blk_controller_vfs_msix_reclaim C",
                     "virtio_blk_controller_destroy -c C --release_msix",
                     f"virtio_blk_function_destroy --vuid {VUID}"):
            self.check("snap_rpc.py", line, [True], "")

    def test_keys_with_spaces_stay(self):
        self.check("snap_rpc.py", "emulation_function_list", [[{"hotplug state": "POWER_OFF"}]],
                   '[\n  {\n    "hotplug state": "POWER_OFF"\n  }\n]\n')

    def test_a_refusal_goes_to_standard_output(self):
        with FakeService(Error(-28, "vf_num_msix 9: no")) as service:
            code, output, error = run("snap_rpc.py", "-s", service.address,
                                      "virtio_blk_controller_create", "--vf_num_msix", "9")
        self.assertEqual((code, error), (1, ""))
        self.assertIn('"code": -28,\n  "message": "vf_num_msix 9: no"', output)


class Scripts(Base):
    def test_the_documented_sequence_runs_from_standard_input(self):
        script = ("virtio_blk_controller_create --pf_id 0 --dynamic_msix\n"
                  "virtio_blk_controller_vfs_msix_reclaim VblkCtrl1\n"
                  "virtio_blk_controller_create --pf_id 0 --vf_id 0 --vf_num_msix 4\n"
                  "virtio_blk_controller_destroy -c VblkCtrl2 --release_msix\n")
        with FakeService({"ctrl_id": "VblkCtrl1"}, True, {"ctrl_id": "VblkCtrl2"},
                         True) as service:
            code, _, error = run("snap_rpc.py", "-s", service.address, stdin=script)
        self.assertEqual((code, error), (0, ""))
        self.assertEqual([method for method, _ in service.calls], [
            line.split()[0] for line in script.splitlines()])


if __name__ == "__main__":
    unittest.main()
