"""The harness of `tests.tasks`."""

from tests.tasks.fixtures import data_dir, harness, plain_log

__all__ = ["data_dir", "harness", "plain_log"]
