"""Reading an untrusted source: open, probe, index, decode."""
