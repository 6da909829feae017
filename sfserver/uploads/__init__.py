"""Bytes in: streaming uploads into the object store."""
