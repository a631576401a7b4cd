"""Limits as the kernel holds them: read, check, change, read back."""
