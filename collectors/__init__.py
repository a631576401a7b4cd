"""Reading counters: raw samples, rates, frames, history. Never writes a limit."""
