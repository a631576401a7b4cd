"""Tests of kernels that this machine may not have: a Debian kernel with pure cgroup v2, booted in QEMU without KVM.

`python -m tests.guest plain systemd` boots both guests at once; `make test-v2` does that.
"""
