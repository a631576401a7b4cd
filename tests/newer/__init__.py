"""`make test-newer`: the engines' tests on the Docker, Podman and containerd of a newer Debian than this machine's."""
