"""Measurement: raw samples, rates, frames, history, inspection of processes. Never writes a limit."""
