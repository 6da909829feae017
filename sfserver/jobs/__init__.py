"""The processing of one upload: tasks, leases, progress."""
