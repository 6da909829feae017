"""Bytes out: progressive files, HLS and the media gate."""
