"""Pure media processing with PyAV: no database, no HTTP, no queue."""
