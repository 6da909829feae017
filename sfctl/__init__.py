"""The `sfctl` command line."""
