"""The command lines against a scripted service: what is sent, printed and returned.

    python3 -m unittest discover -s Tests/ClientTests
"""

import json
import shlex
import socket
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from fake_service import SILENCE, Error, FakeService

RPC = Path(__file__).resolve().parents[2] / "rpc"


def run(script, *arguments, stdin=None):
    """(exit code, standard output, standard error)"""
    done = subprocess.run(
        [sys.executable, str(RPC / script), *arguments], input=stdin or "", timeout=30,
        capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def sent(script, line):
    """The params that a command line makes."""
    code, output, error = run(script, "--dry-run", *shlex.split(line))
    assert code == 0, error
    return json.loads(output.removeprefix("Request:\n")).get("params")


class Base(unittest.TestCase):
    maxDiff = None

    def check(self, script, line, answers, output, code=0, calls=None, stdin=None):
        with FakeService(*answers) as service:
            found = run(script, "-s", service.address, *shlex.split(line), stdin=stdin)
        self.assertEqual(found, (code, output, ""))
        if calls is not None:
            self.assertEqual(service.calls, calls)


class Printing(Base):
    def test_spdk_prints_an_object_or_list_indented(self):
        self.check("spdk_rpc.py", "bdev_get_bdevs -b M", [[{"name": "M"}]],
                   '[\n  {\n    "name": "M"\n  }\n]\n', calls=[("bdev_get_bdevs", {"name": "M"})])

    def test_spdk_prints_a_created_name_bare(self):
        self.check("spdk_rpc.py", "bdev_malloc_create 1 512", ["Malloc0"], "Malloc0\n")

    def test_spdk_prints_a_level_with_quotes(self):
        self.check("spdk_rpc.py", "log_get_level", ["NOTICE"], '"NOTICE"\n')

    def test_spdk_prints_nothing_for_true(self):
        self.check("spdk_rpc.py", "bdev_malloc_delete M", [True], "")

    def test_spdk_prints_true_where_rpc_py_does(self):
        self.check("spdk_rpc.py", "bdev_null_resize N 2", [True], "true\n")

    def test_snap_prints_an_object_indented(self):
        self.check("snap_rpc.py", "virtio_blk_controller_create --vhca_id 3",
                   [{"ctrl_id": "VblkCtrl1"}], '{\n  "ctrl_id": "VblkCtrl1"\n}\n',
                   calls=[("virtio_blk_controller_create", {"vhca_id": 3})])

    def test_snap_prints_an_empty_list(self):
        self.check("snap_rpc.py", "virtio_blk_controller_list", [[]], "[]\n",
                   calls=[("virtio_blk_controller_list", None)])

    def test_snap_prints_a_string_bare(self):
        self.check("snap_rpc.py", "snap_global_param_list", ["a b"], "a b\n")

    def test_snap_prints_nothing_for_true(self):
        self.check("snap_rpc.py", "spdk_bdev_create M", [True], "",
                   calls=[("spdk_bdev_create", {"bdev_name": "M"})])

    def test_snap_prints_spdk_methods_as_spdk_does(self):
        self.check("snap_rpc.py", "log_get_level", ["NOTICE"], '"NOTICE"\n')


class Failing(Base):
    ERROR = ('request:\n{\n  "name": "M",\n  "method": "bdev_get_bdevs",\n  "req_id": 1\n}\n'
             'Got JSON-RPC error response\nresponse:\n'
             '{\n  "code": -19,\n  "message": "No such device"\n}\n')

    def test_an_error_goes_to_standard_output(self):
        for script in ("snap_rpc.py", "spdk_rpc.py"):
            self.check(script, "bdev_get_bdevs -b M", [Error(-19, "No such device")],
                       self.ERROR, code=1)

    def test_a_missing_socket(self):
        code, output, error = run("snap_rpc.py", "-s", "/nonexistent", "bdev_list")
        self.assertEqual((code, error), (1, ""))
        self.assertEqual(output, "Error while connecting to /nonexistent\n"
                                 "Is SPDK application running?\n"
                                 "Error details: Invalid or non-existing address: "
                                 "'/nonexistent'\n")

    def test_a_closed_connection(self):
        self.check("spdk_rpc.py", "log_get_level", [b'{"jsonrpc"'],
                   'Connection closed with partial response:\n{"jsonrpc"\n\n', code=1)

    def test_a_silent_service(self):
        with FakeService(SILENCE) as service:
            code, output, _ = run("spdk_rpc.py", "-s", service.address, "-t", "0.2",
                                  "log_get_level")
        self.assertEqual((code, output), (1, "Timeout while waiting for response:\n\n\n"))

    def test_time_is_over_while_bytes_come(self):
        with FakeService((b" ",) * 300_000) as service:
            code, output, _ = run("spdk_rpc.py", "-s", service.address, "-t", "0.1",
                                  "log_get_level")
        self.assertEqual((code, output), (1, "Timeout while waiting for response:\n\n\n"))

    def test_a_character_in_two_parts(self):
        self.check("spdk_rpc.py", "bdev_malloc_create 1 512",
                   [(b'{"result":"\xc3', 0.1, b'\xa4"}')], "\\u00e4\n")

    def test_what_is_no_text(self):
        self.check("spdk_rpc.py", "log_get_level", [b'{"result":"\xff"}'],
                   "The response is not UTF-8 text: invalid start byte at byte 11\n", code=1)

    def test_a_timeout_of_nothing(self):
        self.check("spdk_rpc.py", "-t 0 log_get_level", [],
                   "Timeout value is invalid: 0.0\n\n", code=1)

    def test_a_killed_service_is_no_error(self):
        self.check("spdk_rpc.py", "spdk_kill_instance SIGKILL", [b""], "")

    def test_a_wrong_command_line(self):
        for line in ("no_such_method", "bdev_examine", "bdev_malloc_create 1",
                     "spdk_kill_instance SIGFOO", "virtio_blk_controller_create --num_queues x"):
            code, output, error = run("snap_rpc.py", *shlex.split(line))
            self.assertEqual((code, output), (2, ""), line)
            self.assertTrue(error.startswith("usage: "), line)


class CommandLines(Base):
    def test_positions_and_options(self):
        self.assertEqual(
            sent("spdk_rpc.py", "bdev_malloc_create -b M -u U 0.5 4096"),
            {"num_blocks": 128, "block_size": 4096, "name": "M", "uuid": "U",
             "md_interleave": False, "dif_is_head_of_md": False})

    def test_an_optional_position(self):
        params = {"filename": "/f", "name": "A", "readonly": False, "fallocate": False,
                  "nowait": False}
        self.assertEqual(sent("spdk_rpc.py", "bdev_aio_create /f A"), params)
        self.assertEqual(sent("spdk_rpc.py", "bdev_aio_create /f A 512 -r"),
                         dict(params, block_size=512, readonly=True))

    def test_abbreviated_options(self):
        self.assertEqual(sent("snap_rpc.py", "virtio_blk_controller_create --num 4 --susp"),
                         {"num_queues": 4, "suspended": True})

    def test_options_of_several_letters_behind_one_dash(self):
        self.assertEqual(sent("snap_rpc.py", "virtio_blk_controller_suspend -c V -t 9 -lu"),
                         {"ctrl_id": "V", "timeout_ms": 9, "live_update_notifier": True})

    def test_both_spellings_of_the_admin_queue(self):
        for option in ("--admin_q", "--dbg_admin_q"):
            self.assertEqual(sent("snap_rpc.py", f"virtio_blk_controller_create {option}"),
                             {"admin_q": True})

    def test_flags_with_a_yes_and_a_no(self):
        for option, value in (("--histogram", True), ("--no-histogram", False), ("-e", True),
                              ("-d", False)):
            self.assertEqual(sent("spdk_rpc.py", f"bdev_enable_histogram {option} M"),
                             {"name": "M", "enable": value})
        self.assertEqual(sent("spdk_rpc.py", "framework_get_config bdev"),
                         {"name": "bdev", "with_batches": False})
        self.assertIsNone(sent("spdk_rpc.py", "bdev_set_options"))

    def test_lists(self):
        self.assertEqual(sent("spdk_rpc.py", "bdev_get_iostat --names a,b"),
                         {"names": ["a", "b"], "per_channel": False})

    def test_delay_by_its_old_letters(self):
        self.assertEqual(
            sent("spdk_rpc.py", "bdev_delay_create -b B -d D -r 1 -t 2 -w 3 -n 4"),
            {"name": "D", "base_bdev_name": "B", "avg_read_latency": 1, "p99_read_latency": 2,
             "avg_write_latency": 3, "p99_write_latency": 4})

    def test_every_example_is_accepted(self):
        lines = []
        for path in sorted((RPC / "schema").glob("*.json")):
            for method in json.loads(path.read_text())["methods"]:
                lines.append(f"{method['name']} {method['example']['arguments']}".strip())
        code, output, error = run("snap_rpc.py", "--dry-run", stdin="\n".join(lines))
        self.assertEqual((code, error), (0, ""))
        self.assertEqual(output.count("Request:\n"), len(lines))

    def test_help_shows_an_example(self):
        code, output, _ = run("snap_rpc.py", "virtio_blk_controller_create", "-h")
        self.assertEqual(code, 0)
        self.assertIn("example:\n  snap_rpc.py virtio_blk_controller_create --pf_id 0", output)
        code, output, _ = run("spdk_rpc.py", "-h")
        self.assertIn("save_config", output)
        self.assertNotIn("virtio_blk_controller_create", output)

    def test_verbose_shows_the_request(self):
        with FakeService("NOTICE") as service:
            code, output, error = run("spdk_rpc.py", "-v", "-s", service.address, "log_get_level")
        self.assertEqual((code, output), (0, '"NOTICE"\n'))
        self.assertIn('INFO: Requests:\n{\n  "jsonrpc": "2.0",\n  "method": "log_get_level"', error)

    def test_an_address_is_tcp(self):
        with FakeService("NOTICE", family=socket.AF_INET) as service:
            found = run("spdk_rpc.py", "-s", service.address, "-p", str(service.port),
                        "log_get_level")
        self.assertEqual(found, (0, '"NOTICE"\n', ""))


class Scripts(Base):
    CALLS = [("spdk_bdev_create", {"bdev_name": "a;b"}), ("bdev_list", None)]

    def test_lines_on_standard_input(self):
        self.check("snap_rpc.py", "", [True, []], "[]\n", calls=self.CALLS,
                   stdin="# it's a comment\n\nspdk_bdev_create 'a;b'\n  bdev_list  \n")

    def test_commands_in_one_argument(self):
        with FakeService(True, []) as service:
            found = run("snap_rpc.py", "-s", service.address, "spdk_bdev_create 'a;b' ;bdev_list;")
        self.assertEqual(found, (0, "[]\n", ""))
        self.assertEqual(service.calls, self.CALLS)

    def test_ids_count_up_on_one_connection(self):
        with FakeService([], []) as service:
            run("snap_rpc.py", "-s", service.address, stdin="bdev_list\nbdev_list\n")
        self.assertEqual([request["id"] for request in service.requests], [1, 2])

    def test_a_server_says_how_each_line_went(self):
        with FakeService("NOTICE") as service:
            lines = [f"-s {service.address} log_get_level", "-s /nonexistent log_get_level",
                     "no_such_method"]
            code, output, _ = run("spdk_rpc.py", "--server", stdin="\n".join(lines))
        self.assertEqual(code, 0)
        self.assertTrue(output.startswith('"NOTICE"\n**STATUS=0\nError while connecting'))
        self.assertTrue(output.endswith("\n**STATUS=1\n**STATUS=1\n"))

    def test_the_first_failure_ends_a_script(self):
        output = ('Exception:\nspdk_bdev_create M\nbdev_list <<<\nrequest:\n{\n'
                  '  "method": "bdev_list",\n  "req_id": 2\n}\nGot JSON-RPC error response\n'
                  'response:\n{\n  "code": -1,\n  "message": "no"\n}\n')
        self.check("snap_rpc.py", "", [True, Error(-1, "no")], output, code=1,
                   stdin="spdk_bdev_create M\nbdev_list\nspdk_bdev_destroy M\n",
                   calls=[("spdk_bdev_create", {"bdev_name": "M"}), ("bdev_list", None)])


class InitFiles(unittest.TestCase):
    LINES = ("# two disks\nbdev_null_create A 1 512\n\nbdev_null_create A 2 512\n"
             "no_such_method\nbdev_null_create B 1 512\n")

    def carry_out(self, *options):
        """(exit code, output, names of the bdevs asked for)"""
        answers = ["A", Error(-17, "exists, but with num_blocks 2048"), "B"]
        with tempfile.NamedTemporaryFile("w") as file, FakeService(*answers) as service:
            file.write(self.LINES)
            file.flush()
            code, output, _ = run(
                "spdk_rpc.py", "-s", service.address, "--init-file", file.name, *options)
            asked = [params["params"]["name"] for _, params in service.calls]
            return code, output.replace(file.name, "FILE"), asked

    def test_end_at_the_first_line_that_fails_and_name_it(self):
        code, output, asked = self.carry_out()
        self.assertEqual((code, asked), (1, ["A", "A"]))
        self.assertTrue(output.startswith("A\nFILE:4: bdev_null_create A 2 512\n"), output)
        self.assertIn("exists, but with num_blocks 2048", output)

    def test_give_no_params_to_a_method_without(self):
        with tempfile.NamedTemporaryFile("w") as file, FakeService(True) as service:
            file.write("framework_start_init\n")
            file.flush()
            self.assertEqual(run("spdk_rpc.py", "-s", service.address, "--init-file", file.name)[0],
                             0)
        self.assertEqual(service.calls, [
            ("softsnap_apply", {"method": "framework_start_init", "occurrence": 1})])

    def test_go_on_when_told_to_and_fail_in_the_end(self):
        code, output, asked = self.carry_out("--keep-going")
        self.assertEqual((code, asked), (1, ["A", "A", "B"]))
        self.assertIn("FILE:4: bdev_null_create A 2 512\n", output)
        self.assertIn("FILE:5: no_such_method\n", output)
        self.assertTrue(output.endswith("B\n"), output)


class Configurations(Base):
    SUBSYSTEMS = [{"subsystem": "iobuf", "depends_on": []},
                  {"subsystem": "bdev", "depends_on": ["iobuf"]},
                  {"subsystem": "nvmf", "depends_on": ["bdev"]}]
    CONFIG = {"subsystems": [
        {"subsystem": "iobuf", "config": [{"method": "iobuf_set_options", "params": {"a": 1}}]},
        {"subsystem": "bdev", "config": [[{"method": "bdev_malloc_create", "params": {"b": 2}}],
                                         {"method": "bdev_wait_for_examine"}]},
        {"subsystem": "nvmf", "config": None}]}
    STARTUP = ["iobuf_set_options", "framework_start_init"]
    RUNTIME = ["bdev_malloc_create", "bdev_wait_for_examine"]

    def test_save_config(self):
        saved = [{"method": "bdev_wait_for_examine"}]
        want = {"subsystems": [{"subsystem": "iobuf", "config": None},
                               {"subsystem": "bdev", "config": saved}]}
        self.check("spdk_rpc.py", "save_config -s bdev", [self.SUBSYSTEMS, None, saved],
                   json.dumps(want, indent=2) + "\n",
                   calls=[("framework_get_subsystems", None),
                          ("framework_get_config", {"name": "iobuf", "with_batches": False}),
                          ("framework_get_config", {"name": "bdev", "with_batches": False})])

    def test_save_config_in_one_line(self):
        self.check("spdk_rpc.py", "save_config -i -1", [self.SUBSYSTEMS[:1], None],
                   '{"subsystems": [{"subsystem": "iobuf", "config": null}]}\n')

    def test_save_subsystem_config(self):
        self.check("spdk_rpc.py", "save_subsystem_config -n bdev", [[]],
                   '{\n  "subsystem": "bdev",\n  "config": []\n}\n')

    def test_load_config_starts_the_service_between_the_states(self):
        answers = [self.STARTUP + self.RUNTIME, self.STARTUP, True, True, self.RUNTIME, "M", True]
        self.check("spdk_rpc.py", "load_config", answers, "", stdin=json.dumps(self.CONFIG),
                   calls=[("rpc_get_methods", {"include_aliases": False}),
                          ("rpc_get_methods", {"include_aliases": False, "current": True}),
                          ("iobuf_set_options", {"a": 1}), ("framework_start_init", None),
                          ("rpc_get_methods", {"include_aliases": False, "current": True}),
                          ("bdev_malloc_create", {"b": 2}), ("bdev_wait_for_examine", None)])

    def test_load_config_with_nothing_in_it(self):
        self.check("spdk_rpc.py", "load_config -j '{\"subsystems\": []}'", [self.STARTUP, True],
                   "", calls=[("rpc_get_methods", {"include_aliases": False}),
                              ("framework_start_init", None)])

    def test_load_config_says_what_it_left_out(self):
        self.check("spdk_rpc.py", "load_config",
                   [self.STARTUP + self.RUNTIME, self.RUNTIME, "M", True, self.RUNTIME],
                   "Some configs were skipped because the RPC state that can call them passed"
                   " over.\n", stdin=json.dumps(self.CONFIG))

    def test_load_config_refuses_an_unknown_method(self):
        self.check("spdk_rpc.py", "load_config", [self.STARTUP],
                   "Unknown method was included in the config file\n", code=1,
                   stdin=json.dumps(self.CONFIG))

    def test_load_config_stops_at_the_first_error(self):
        with FakeService(self.STARTUP + self.RUNTIME, self.STARTUP, Error(-22, "no")) as service:
            code, output, _ = run("spdk_rpc.py", "-s", service.address, "load_config",
                                  stdin=json.dumps(self.CONFIG))
        self.assertEqual(code, 1)
        self.assertTrue(output.startswith('request:\n{\n  "a": 1,'))

    def test_load_subsystem_config(self):
        config = {"subsystem": "bdev", "config": [{"method": "bdev_wait_for_examine"}]}
        self.check("spdk_rpc.py", "load_subsystem_config", [self.RUNTIME, self.RUNTIME, True], "",
                   stdin=json.dumps(config))


class Schema(unittest.TestCase):
    def test_what_is_made_from_it_is_fresh(self):
        self.assertEqual(run("generate.py", "--check"), (0, "", ""))


if __name__ == "__main__":
    unittest.main()
