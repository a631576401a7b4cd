"""Mutants that no test can find, each with the reason: what they do is the same.

Keyed by `Mutant.key`. They are not counted as survivors.
"""

from __future__ import annotations

from collections.abc import Mapping

REASONS: Mapping[str, str] = {
    (
        "collectors/sampling/host.py\n"
        "-        disks = psutil.disk_io_counters(perdisk=True, nowrap=False)\n"
        "+        disks = psutil.disk_io_counters(perdisk=True, nowrap=None)"
    ): "psutil takes None for False",
    (
        "collectors/sampling/parents.py\n"
        "-                fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)\n"
        "+                fd = os.open(path, os.O_PATH | os.O_DIRECTORY & os.O_CLOEXEC)"
    ): "O_CLOEXEC is set by Python anyway, and the path is that of a directory",
    (
        'collectors/sampling/parse.py\n-    if data == b"max\\n":\n+    if data == b"MAX\\n":'
    ): "the comparison after it knows max too",
    (
        "collectors/sampling/parse.py\n"
        '-    if 0 < user_at < system_at and data.startswith(b"usage_usec "):  # the usual order\n'
        '+    if 0 < user_at < system_at and data.startswith(b"USAGE_USEC "):  # the usual order'
    ): "the quick way for the usual order is left, and the general way gives the same",
    (
        "collectors/sampling/parse.py\n"
        '-        *(b"\\nhierarchical_memory_limit ", b"\\ntotal_cache ", b"\\ntotal_rss ", b"\\ntotal_shmem "),\n'
        '+        *(b"\\nhierarchical_memory_limit ", b"\\nTOTAL_CACHE ", b"\\ntotal_rss ", b"\\ntotal_shmem "),'
    ): "the quick way for the usual order is left, and the general way gives the same",
    (
        "collectors/sampling/parse.py\n"
        '-    start = data.find(b"\\nhierarchical_memory_limit ")\n'
        '+    start = data.rfind(b"\\nhierarchical_memory_limit ")'
    ): "the line is there once",
    (
        "collectors/sampling/scheduler.py\n"
        "-                deadline, self._restart_grid = now, False\n"
        "+                deadline, self._restart_grid = now, True"
    ): "the next deadline begins a new grid once more, at the same moment",
    (
        "collectors/sampling/tracking.py\n-        if tracked.pidfd >= 0:\n+        if tracked.pidfd > 0:"
    ): "descriptor 0 is the standard input",
    (
        "runtime/engines/containerd/resources.py\n"
        '-    high = str((resources_now.get("unified") or {}).get(HIGH, "max"))\n'
        '+    high = str((resources_now.get("unified") or {}).get(HIGH, "XXmaxXX"))'
    ): "anything that is no number means no limit",
    (
        "runtime/oci/users.py\n"
        '-    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)\n'
        '+    root = os.open("/", )\n'
        ""
    ): "without flags it is opened for reading, which root may; O_CLOEXEC is set by Python anyway",
    (
        "collectors/sampling/inherited_limits.py\n"
        '-T = TypeVar("T", float | Unlimited | Missing, int | Unlimited | Missing)\n'
        '+T = TypeVar("XXTXX", float | Unlimited | Missing, int | Unlimited | Missing)'
    ): "the name of a type variable is for readers",
    (
        "collectors/sampling/parse.py\n"
        '-        *(b"\\nhierarchical_memory_limit ", b"\\ntotal_cache ", b"\\ntotal_rss ", b"\\ntotal_shmem "),\n'
        '+        *(b"\\nHIERARCHICAL_MEMORY_LIMIT ", b"\\ntotal_cache ", b"\\ntotal_rss ", b"\\ntotal_shmem "),'
    ): "the quick way for the usual order is left, and the general way gives the same",
    (
        "collectors/sampling/parse.py\n"
        '-    total = data.find(b"total=", at, end if end >= 0 else len(data))\n'
        '+    total = data.find(b"total=", at, end if end >= 1 else len(data))'
    ): "a line that ends at 0 has no total",
}
