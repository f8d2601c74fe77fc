# make run         starts a service, does verified I/O, serves until Ctrl-C (ONCE=1: ends there)
# make test        installs what is missing, builds, and runs every test
# make lint        formatter, layers, imports, unsafe, lengths, generated files
# make fuzz        fuzzes every fuzz_* target for SECONDS_OF_FUZZING (600) each
# make bench       compares with qemu-storage-daemon (see Tests/Bench/bench.py)
# make image       builds the image of the containers' tests, and says where it is
# make containers  builds the image from container/Containerfile, and tests containers of it
# make soak        plugs, resets, power-cycles and hands over thousands of times, with machines at work

SHELL := /bin/bash
SECONDS_OF_FUZZING ?= 600
PACKAGES := libibverbs-dev librdmacm-dev libjson-c-dev libaio-dev libssl-dev pkg-config qemu-system-x86 \
	qemu-utils busybox-static cpio e2fsprogs kmod fio dash xz-utils zstd nvme-cli mmdebstrap \
	iproute2 ibverbs-providers
CONTAINER_PACKAGES := podman runc catatonit mmdebstrap containerd
PYTHON_TESTS := Tests/Lint Tests/ClientTests Tests/ContainerTests Tests/EndToEnd

.PHONY: run test lint fuzz bench soak image containers deps build-tests units-test stacks-test python-test

run: deps
	swift build -c release --product snap_service
	swift build -c release --product snap_perf
	SOFTSNAP_BIN=$$(swift build -c release --show-bin-path) \
		python3 -u Tests/EndToEnd/show.py $(if $(ONCE),--once)

test: units-test stacks-test python-test

build-tests: deps
	swift build --build-tests

# Whole stacks run apart from what computes for a minute without a pause, and one test after the
# other: all want the few threads that actors have, and a guest's patience is ten seconds.
STACKS = (SoftDPU|NVMeOF)Tests

units-test: build-tests
	swift test --skip-build --skip '$(STACKS)'

stacks-test: build-tests
	swift test --skip-build --no-parallel --filter '$(STACKS)'

# Each folder is a suite of its own: tests import the helpers beside them.
python-test: build-tests
	@failed=0; for folder in $(PYTHON_TESTS); do \
		echo "== $$folder"; python3 -m unittest discover -s $$folder -v || failed=1; \
	done; exit $$failed

lint:
	swift format lint --strict --recursive --parallel Sources Tests Package.swift
	python3 Tests/Lint/lint.py
	python3 rpc/generate.py --check

fuzz: deps
	Tests/Lint/fuzz.sh $(SECONDS_OF_FUZZING)

bench: deps
	swift build -c release
	python3 Tests/Bench/bench.py --build $$(swift build -c release --show-bin-path)

soak: build-tests
	SOFTSNAP_SOAK=1 swift test --skip-build --filter SoakTests
	swift build -c release
	cd Tests/EndToEnd && SOFTSNAP_SOAK=1 SOFTSNAP_BIN=$$(swift build -c release --show-bin-path) \
		python3 -m unittest -v test_recovery test_live_upgrade \
		test_handover.VirtioBlk.test_listener_and_notifier \
		test_handover.VirtioBlk.test_delete_and_create \
		test_handover.NVMe.test_listener_and_notifier \
		test_handover.NVMe.test_delete_and_create
	cd Tests/EndToEnd && SOFTSNAP_SOAK=1 python3 -m unittest -v \
		test_card_daemon.Survival.test_killed_at_any_moment_it_comes_back_as_it_was_or_would_be \
		test_nvme_guest.Absence.test_a_minute_without_a_service_is_no_error \
		test_keeper test_keeper_guest \
		test_nvmet_guest.LinuxTarget.test_reconnects_leave_nothing_behind \
		test_nvmet_rdma_guest.LinuxTarget.test_reconnects_leave_nothing_behind \
		test_rdma_faults
	cd Tests/Containers && SOFTSNAP_SOAK=1 python3 -m unittest -v \
		test_containers.Shared.test_killed_under_load_it_is_recovered_each_time

image containers soak: PACKAGES += $(CONTAINER_PACKAGES)
image: deps
	python3 Tests/Containers/containers.py

containers: build-tests
	@echo "== Tests/Containers"
	python3 -m unittest discover -s Tests/Containers -v

# Only what is missing is installed, so that a prepared machine needs no network.
deps:
	@missing=$$(for package in $(PACKAGES); do \
		dpkg-query -W -f '$${Status}' $$package 2>/dev/null | grep -q 'ok installed' \
			|| echo $$package; done); \
	if [ -n "$$missing" ]; then \
		echo "installing: $$missing"; apt-get -qq update; \
		DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $$missing; \
	fi
