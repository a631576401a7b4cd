"""Where a container's read-only root file system comes from."""
