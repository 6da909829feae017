"""Measure transcoding, serving and uploading: `python -m bench`."""
