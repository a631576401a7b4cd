"""Containing who hurts others: leases that revert by themselves, their keeper, the audit trail, the ladder of rungs."""
