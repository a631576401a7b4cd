# The guest without systemd: cgroup v2 alone, then the tests that were listed for it.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
mount -t cgroup2 -o nsdelegate cgroup /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
for name in loop bfq quota_v2; do modprobe "$name" || echo "guest: no module $name"; done
echo "guest: $(uname -r) with $(cat /sys/fs/cgroup/cgroup.controllers), up for $(cut -d' ' -f1 /proc/uptime) s"
sh /run/guest/tests.sh
busybox poweroff -f
