# SPDX-License-Identifier: MIT
"""How many processors there are for us: affinity, control groups of both versions, and orders."""

import math
import os
import subprocess
import sys

import pytest
import ramet
from ramet.cpus import group_limit

V2 = "31 23 0:28 {uppermost} {folder} rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = "32 31 0:29 {uppermost} {folder} rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
OTHERS = (
    "22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
)


@pytest.fixture
def machine(tmp_path):
    """Makes the part of /proc and /sys that tells of control groups."""

    def make(groups, mounts, files):
        (tmp_path / "proc/self").mkdir(parents=True)
        (tmp_path / "proc/self/cgroup").write_text(groups)
        (tmp_path / "proc/self/mountinfo").write_text(OTHERS + mounts)
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return group_limit(str(tmp_path))

    return make


def v1(folder, quota, period=100_000):
    """The two files of a group."""
    return {
        f"{folder}/cpu.cfs_quota_us": f"{quota}\n",
        f"{folder}/cpu.cfs_period_us": f"{period}\n",
    }


def test_no_groups(tmp_path):
    assert group_limit(str(tmp_path)) == math.inf


def test_version_2(machine):
    mounts = V2.format(uppermost="/", folder="/sys/fs/cgroup")
    files = {
        "sys/fs/cgroup/a/b/cpu.max": "150000 100000\n",
        "sys/fs/cgroup/a/cpu.max": "max 100000\n",
    }
    assert machine("0::/a/b\n", mounts, files) == 1.5


def test_a_group_above_has_the_limit(machine):
    mounts = V2.format(uppermost="/", folder="/sys/fs/cgroup")
    files = {"sys/fs/cgroup/a/b/cpu.max": "max 100000", "sys/fs/cgroup/a/cpu.max": "200000 100000"}
    assert machine("0::/a/b/c\n", mounts, files) == 2


def test_the_uppermost_group_of_a_container(machine):
    mounts = V2.format(uppermost="/", folder="/sys/fs/cgroup")
    assert machine("0::/\n", mounts, {"sys/fs/cgroup/cpu.max": "50000 100000\n"}) == 0.5


def test_version_1(machine):
    mounts = V1.format(uppermost="/", folder="/sys/fs/cgroup/cpu,cpuacct")
    files = v1("sys/fs/cgroup/cpu,cpuacct/x", 300_000) | v1("sys/fs/cgroup/cpu,cpuacct", -1)
    assert machine("4:memory:/other\n3:cpu,cpuacct:/x\n", mounts, files) == 3


def test_version_1_in_a_container_that_sees_the_names_of_the_machine(machine):
    mounts = V1.format(uppermost="/docker/abc", folder="/sys/fs/cgroup/cpu")
    files = v1("sys/fs/cgroup/cpu", 250_000)
    assert machine("3:cpu,cpuacct:/docker/abc\n", mounts, files) == 2.5


def test_version_1_of_another_group_than_is_mounted(machine):
    mounts = V1.format(uppermost="/docker/abc", folder="/sys/fs/cgroup/cpu")
    assert machine("3:cpu,cpuacct:/\n", mounts, v1("sys/fs/cgroup/cpu", 100_000)) == 1


def test_both_versions(machine):
    mounts = V1.format(uppermost="/", folder="/cpu") + V2.format(
        uppermost="/", folder="/with\\040blank"
    )
    files = {"with blank/cpu.max": "200000 100000\n", **v1("cpu/x", 400_000)}
    assert machine("0::/\n1:cpu:/x\n", mounts, files) == 2


@pytest.mark.parametrize("text", ["", "max", "some 100000", "100000 0", "100000 none"])
def test_what_cannot_be_understood_is_no_limit(machine, text):
    mounts = V2.format(uppermost="/", folder="/sys/fs/cgroup")
    assert machine("0::/\n", mounts, {"sys/fs/cgroup/cpu.max": text}) == math.inf


def test_this_machine():
    expected = math.ceil(min(len(os.sched_getaffinity(0)), group_limit()))
    assert ramet.cpu_count() == expected >= 1
    assert ramet.get_context("spawn").cpu_count() == expected
    with ramet.Pool() as pool:
        assert len(pool._pool) == expected


COUNT = """\
import os, sys
import ramet, multiprocessing
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
print(ramet.cpu_count(), multiprocessing.cpu_count() == os.cpu_count())
"""


def test_affinity():
    done = subprocess.run([sys.executable, "-c", COUNT], capture_output=True, text=True)
    assert done.stdout == "1 True\n", done.stderr


if sys.version_info >= (3, 13):

    def test_the_user_has_the_last_word():
        for options, variables in ((["-X", "cpu_count=7"], {}), ([], {"PYTHON_CPU_COUNT": "7"})):
            done = subprocess.run(
                [sys.executable, *options, "-c", COUNT],
                capture_output=True,
                text=True,
                env={**os.environ, **variables},
            )
            assert done.stdout.startswith("7 "), done.stderr
