# The guest with systemd as its first process: nothing but the tests is started, and their end is the guest's.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
# Not one unit of the host's: reading them over 9p takes this machine minutes at each daemon-reload.
for name in system-generators system; do mount -t tmpfs none "/usr/lib/systemd/$name"; done
modprobe bfq || echo "guest: no module bfq"
rm -f /.dockerenv /run/.containerenv
: >/etc/machine-id
cat >/etc/systemd/system/guest.target <<'END'
[Unit]
DefaultDependencies=no
Wants=guest.service
END
cat >/etc/systemd/system/guest.service <<'END'
[Unit]
DefaultDependencies=no
SuccessAction=poweroff-force
FailureAction=poweroff-force
[Service]
Type=oneshot
Environment=HOME=/root LANG=C.UTF-8
ExecStart=/bin/sh /run/guest/tests.sh
TimeoutStopSec=5
StandardOutput=tty
StandardError=tty
TTYPath=/dev/console
END
echo "guest: $(uname -r), handing over to systemd, up for $(cut -d' ' -f1 /proc/uptime) s"
exec /lib/systemd/systemd --unit=guest.target --show-status=no
