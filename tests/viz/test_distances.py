"""What the drawings of distances count."""

from transformer_lib.config import LinearScaling, Rope
from transformer_lib.viz.drawings.distances import draw_turns


def test_of_interpolated_pairs_none_reaches_a_new_angle() -> None:
    ropes = {"as trained": Rope(), "interpolated": Rope(scaling=LinearScaling(factor=8.0))}
    told = draw_turns(ropes, 16, trained=64, read=512).alt
    # the first three of eight pairs turn fully within 64 tokens: 6.3, 20 and 63 tokens a turn
    assert "as trained: 5 of 8 pairs reach new angles; interpolated: 0 of 8" in told
