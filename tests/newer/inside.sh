# inside.sh ROOT COMMAND...: run a command with ROOT as the root directory, in a mount namespace of its own, which ends with
# it. What is seen of this machine in there is named, one path a line, in $BORROWED. A chroot would not do: no user namespace
# can be made in one, which a rootless Podman needs.
set -eu
root=$1
shift
here=$PWD
mount --bind "$root" "$root"
echo "$BORROWED" | while read -r path; do
  if [ -d "$path" ]; then
    mkdir -p "$root$path"
  else
    mkdir -p "$(dirname "$root$path")"
    [ -e "$root$path" ] || : >"$root$path"
  fi
  mount --rbind "$path" "$root$path"
done
mkdir -p "$root/outside"
cd "$root"
pivot_root . outside
umount -l /outside
cd "$here"
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
exec "$@"
