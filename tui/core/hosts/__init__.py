"""The machines whose containers are shown: the one this runs on, and the seam for others."""
