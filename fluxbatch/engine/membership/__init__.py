"""The part of one process in a shared run: its leases and claims, and its clock."""
