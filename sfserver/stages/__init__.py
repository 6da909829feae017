"""The stages of the pipeline, one file each; `registry.py` lists them."""
