"""A training through the command line that is killed twenty times ends in the very bytes of one that never stopped."""

from pathlib import Path

from tests.tasks.killed_runs import kill_again_and_again


def test_twenty_kills_through_the_command_line_change_nothing(tmp_path: Path) -> None:
    in_saves = kill_again_and_again(tmp_path, kills=20, seed=0)
    assert sum(in_saves.values()) >= 5, f"too few of the kills fell into a save: {in_saves}"
    assert all(in_saves.values()), f"one of the signals never fell into a save: {in_saves}"
