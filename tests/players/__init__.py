"""The player matrix: every player goes through the same exercises with what the server made of a clip."""

import pytest

pytest.register_assert_rewrite("tests.players.browser", "tests.players.command", "tests.players.programs")
