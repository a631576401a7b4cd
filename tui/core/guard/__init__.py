"""The guard: keeps protected containers within their targets, by leases alone, as far as a policy allows."""
