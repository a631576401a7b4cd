"""The OCI documents of a container and the users of its image, against the record in tests/data/approved."""

from __future__ import annotations

import json

from runtime.limits import HostFacts
from runtime.model import UNLIMITED, Bind, ContainerSpec, DeviceRate, LimitChange, Limits
from runtime.oci import defaults, resources, spec, syscalls_allowed, users
from runtime.oci.resources import ResourceContext
from runtime.oci.users import User
from tests.approved import approve, told

FACTS = HostFacts(ncpu=4, cpus="0-3", mems="0-1", memory_total=8 << 30, swap_total=1 << 30, pid_max=32768)
HELD = Limits(cpus=2.0, cpu_period=50_000, memory=1 << 30, swap=1 << 20, memory_reservation=0, io_weight=100)
PASSWD = [
    ["root", "x", "0", "0", "root", "/root", "/bin/sh"],
    ["daemon", "x", "1", "2", "", "/usr/sbin", "/bin/false"],
    ["odd", "x", "-5", "7", "", "/odd", ""],
    ["large", "x", "4294967295", "7", "", "/large", ""],
    ["short", "x", "9"],
]
GROUP = [["adm", "x", "4", "daemon,web"], ["web", "x", "33", "daemon"], ["odd", "x", "nine", ""], ["short", "x"]]
USERS = (
    *("", "0", "root", "daemon", "1", "1000", "daemon:adm", "1000:1000", "daemon:33", "daemon:short", "nobody", "odd"),
    *(
        "large",
        "short",
        "9",
        ":adm",
        "daemon:nobody",
        "-1",
        "+1",
        "2147483647",
        "2147483648",
        "1:2147483648",
        "odd:odd",
    ),
)
CHANGES = (
    *(LimitChange(cpus=cpus, cpu_period=period) for cpus in (0.5, UNLIMITED, None) for period in (None, 20_000)),
    *(LimitChange(memory=value) for value in (1 << 20, UNLIMITED)),
    *(LimitChange(swap=value) for value in (0, 1 << 20, UNLIMITED)),
    LimitChange(memory=1 << 20, swap=1 << 21),
    *(LimitChange(memory_reservation=value) for value in (0, 1 << 20, UNLIMITED)),
    *(LimitChange(memory_high=value) for value in (1 << 20, UNLIMITED)),
    *(LimitChange(pids=value) for value in (1, UNLIMITED)),
    *(LimitChange(cpuset_cpus=value, cpuset_mems=value) for value in ("0", UNLIMITED)),
    LimitChange(cpu_shares=512, io_weight=200, cpu_idle=True, cpu_burst=1000),
    LimitChange(io_read_bps=(DeviceRate("8:0", 1000), DeviceRate("8:16", UNLIMITED))),
    LimitChange(io_write_bps=(DeviceRate("8:0", 1),), io_read_iops=(DeviceRate("8:0", 2),)),
    LimitChange(io_write_iops=(DeviceRate("8:0", 3),)),
)


def test_the_document_of_a_container() -> None:
    user = User(7, 8, (9, 10), "/home/seven")
    plain = ContainerSpec("i", ("sleep", "1"))
    full = ContainerSpec(
        "i",
        env={"A": "1", "B": ""},
        workdir="/w",
        hostname="h",
        binds=(Bind("/s", "/t"), Bind("/r", "/o", read_only=True)),
        read_only=True,
    )
    image = {"Entrypoint": ["/e"], "Cmd": ["c"], "Env": ["B=2", "PATH=/p", "C"], "WorkingDir": "/i"}
    made = [
        spec.document(plain, {}, user, {}, cgroup="/c", host="own"),
        spec.document(full, image, user, {"pids": {"limit": 1}}, cgroup="/c", host="own"),
    ]
    lines = [line for each in made for line in json.dumps(each, indent=1, sort_keys=True).splitlines()]
    approve("oci_document", [*lines, told(spec.document, ContainerSpec("i"), {}, user, {}, cgroup="", host="")])


def test_what_a_container_is_given_and_denied() -> None:
    lists = {
        "capabilities": sorted(defaults.DEFAULT_CAPABILITIES),
        "masked": defaults.MASKED_PATHS,
        "read only": defaults.READ_ONLY_PATHS,
        "system calls": sorted(syscalls_allowed.ALLOWED),
    }
    approve("oci_defaults", (f"{title}: {entry}" for title, entries in lists.items() for entry in entries))


def test_the_user_that_an_image_names() -> None:
    lines = [f"{text!r}: {told(users.find, text, PASSWD, GROUP)}; checked: {told(users.check, text)}" for text in USERS]
    approve("oci_users", [*lines, *(f"{text!r}: {told(users.resolve, text)}" for text in ("", "0", "root"))])


def test_the_resources_of_a_change() -> None:
    lines = []
    for change in CHANGES:
        asked = ", ".join(f"{name.value}={value}" for name, value in change.items())
        for v2 in (False, True):
            held = ResourceContext(HELD, FACTS, cgroup_v2=v2)
            new = told(resources.initial_resources, change, held)
            changed, alone = (
                told(resources.resources, change, each)
                for each in (held, ResourceContext(Limits(), FACTS, cgroup_v2=v2))
            )
            lines.append(f"{asked} on v{1 + v2}: {changed}; nothing held: {alone}; new: {new}")
    approve("oci_resources", lines)
