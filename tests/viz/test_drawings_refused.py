"""What a drawing has no room for, or what does not fit together, is refused; other nets can be drawn."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.viz.drawn.case import config
from tests.viz.drawn.search import drafted, fork
from tests.viz.layout import faults, texts
from transformer_lib.config import AttentionConfig, LayerConfig, Mlp, NoPositions, Rope
from transformer_lib.models.decoder import DecoderLM
from transformer_lib.models.presets import gpt2
from transformer_lib.nn.feedforward import FeedForward
from transformer_lib.viz.diagram import Drawing
from transformer_lib.viz.drawings.block import draw_block
from transformer_lib.viz.drawings.convolutions import draw_receptive_field
from transformer_lib.viz.drawings.decoder import draw_decoder
from transformer_lib.viz.drawings.designs import draw_designs
from transformer_lib.viz.drawings.devices import draw_data_parallel
from transformer_lib.viz.drawings.distances import draw_reach, draw_turns
from transformer_lib.viz.drawings.graphs import draw_attention_graph
from transformer_lib.viz.drawings.memory import draw_cache, draw_kept, draw_pages
from transformer_lib.viz.drawings.pipelines import draw_pipeline
from transformer_lib.viz.drawings.recurrent import draw_attending, draw_last_state, draw_unrolled
from transformer_lib.viz.drawings.search import draw_beam_search, draw_speculation
from transformer_lib.viz.drawings.sharing import draw_expert_exchange, draw_ring, draw_tensor_parallel
from transformer_lib.viz.drawings.states import draw_growth, draw_overwriting
from transformer_lib.viz.drawings.stream import draw_additions
from transformer_lib.viz.drawings.tiles import draw_tiles
from transformer_lib.viz.drawings.tokens import draw_lattice, draw_merges, draw_steps
from transformer_lib.viz.drawings.training import draw_accumulation, draw_questions, draw_shift
from transformer_lib.viz.drawings.weights import draw_weight_journey


def without_numbers() -> DecoderLM:
    """A decoder whose matrices equal nothing, themselves included."""
    model = DecoderLM(config(1))
    with torch.no_grad():
        for weight in model.parameters():
            weight.fill_(torch.nan)
    return model


NET = nn.RNN(2, 4)
ROWS = torch.ones(4, 2)
SMALL, IDS = DecoderLM(config(1)), torch.tensor([[3, 7, 1, 16]])
BOTH = DecoderLM(replace(config(1), norm_order="both"))
MIXED = DecoderLM(replace(config(1), pattern=(LayerConfig(positions=NoPositions()),)))
REFUSED: dict[str, tuple[str, Callable[[], object]]] = {
    "a word too few": ("words", lambda: draw_unrolled(NET, ROWS, ["a", "b", "c"])),
    "too many tokens": ("source", lambda: draw_last_state(NET, list("abcd"), ["a"])),
    "no such step": ("step", lambda: draw_attending(NET, torch.ones(1, 1), ["a"], ["b"], step=1)),
    "a weight above 1": ("weights", lambda: draw_attending(NET, 2 * torch.ones(1, 1), ["a"], ["b"], step=0)),
    "names of other tokens": ("vocabulary", lambda: draw_decoder(SMALL, IDS, list("abcd"), vocabulary=["a", "b"])),
    "norms behind the parts": ("norm_order", lambda: draw_block(replace(config(1), norm_order="part"))),
    "a block of many kinds": ("pattern", lambda: draw_block(MIXED.config)),
    "norms on both sides": ("norm_order", lambda: draw_decoder(BOTH, IDS, list("abcd"))),
    "layers that differ": ("pattern", lambda: draw_decoder(MIXED, IDS, list("abcd"))),
    "a vocabulary too wide": ("vocabulary", lambda: draw_decoder(SMALL, IDS, list("abcd"), vocabulary=["number"] * 20)),
    "a stack of nothing": ("stacks", lambda: draw_receptive_field([[]])),
    "too far": ("stacks", lambda: draw_receptive_field([[nn.Conv1d(1, 1, 2, dilation=24)]])),
    "too many pairs": ("head_dim", lambda: draw_turns({"plain": Rope()}, 64, trained=8, read=16)),
    "too long a text": ("tokens", lambda: draw_reach({"plain": config(1)}, tokens=41)),
    "too many slots": ("prompt", lambda: draw_cache(DecoderLM(config(1)), list("abcdefg"), ["h", "i"])),
    "no kind": ("kinds", lambda: draw_kept({})),
    "a width that is not said": ("kinds", lambda: draw_kept({"a": AttentionConfig(num_heads=2)})),
    "no text": ("tables", lambda: draw_pages({}, [], page=2, pages=2)),
    "a page that is not there": ("tables", lambda: draw_pages({"a": [2]}, [1], page=2, pages=2)),
    "a page too few": ("lengths", lambda: draw_pages({"a": [0]}, [3], page=2, pages=2)),
    "a length too few": ("lengths", lambda: draw_pages({"a": [0], "b": [1]}, [1], page=2, pages=2)),
    "too many pages": ("pages", lambda: draw_pages({"a": [0]}, [1], page=2, pages=13)),
    "too many texts": ("tables", lambda: draw_pages({f"{i}": [i] for i in range(6)}, [1] * 6, page=2, pages=6)),
    "a text too long": ("length", lambda: draw_growth(DecoderLM(config(1)), 17)),
    "a pair without a word": ("words", lambda: draw_overwriting(ROWS, ROWS, ["a", "b", "c"])),
    "too many keys": ("keys", lambda: draw_attention_graph(ROWS[0], ROWS, ROWS, ROWS[0])),
    "no losses": ("parts", lambda: draw_accumulation([])),
    "targets that are not moved": ("inputs", lambda: draw_shift(["a", "b"], ["a", "b"])),
    "a window of two": ("tokens", lambda: draw_questions(["a", "b"])),
    "too many channels": ("embedding", lambda: draw_additions(torch.ones(1, 5), [("a", torch.ones(1, 5))], ["a"])),
    "nothing is added": ("added", lambda: draw_additions(ROWS, [], list("abcd"))),
    "a word without a row": ("words", lambda: draw_additions(ROWS, [("a", ROWS)], list("abcde"))),
    "a long name": ("data", lambda: draw_designs("request", "all that came by mail")),
    "a block that leaves a rest": ("q", lambda: draw_tiles(ROWS, ROWS, ROWS, block=3, tile=(0, 0))),
    "a tile that is never made": ("tile", lambda: draw_tiles(ROWS, ROWS, ROWS, block=2, mask="causal", tile=(0, 1))),
    "too many devices": ("gpus", lambda: draw_data_parallel(gpt2(), gpus=5)),
    "a third device": ("gpus", lambda: draw_tensor_parallel(FeedForward(2, Mlp(d_ff=6)), ROWS, gpus=3)),
    "x of another width": ("x", lambda: draw_tensor_parallel(FeedForward(5, Mlp(d_ff=6)), ROWS, gpus=2)),
    "channels that leave a rest": ("module", lambda: draw_tensor_parallel(FeedForward(2, Mlp(d_ff=5)), ROWS, gpus=2)),
    "too many in a ring": ("gpus", lambda: draw_ring(tokens=10, gpus=5)),
    "a stretch that leaves a rest": ("tokens", lambda: draw_ring(tokens=9, gpus=2)),
    "a device without experts": ("sent", lambda: draw_expert_exchange([[1, 2], [3]], width=4)),
    "fewer than none": ("sent", lambda: draw_expert_exchange([[1, -2], [3, 1]], width=4)),
    "too many stages": ("stages", lambda: draw_pipeline(stages=9, micro_batches=1)),
    "too many micro-batches": ("micro_batches", lambda: draw_pipeline(stages=2, micro_batches=11)),
    "names that are missing": ("names", lambda: draw_beam_search(**fork(1) | {"names": ["start"]})),
    "a long word": ("word", lambda: draw_merges("unbelievable", [("u", "n")])),
    "merges of another word": ("merges", lambda: draw_merges("ring", [("s", "a")])),
    "letters without a piece": ("scores", lambda: draw_lattice("ring", {"r": -1.0})),
    "a single step": ("steps", lambda: draw_steps([("text", ["a"])])),
    "pieces for two rows": (r"steps\[1\]", lambda: draw_steps([("text", ["a"]), ("pieces", ["singing"] * 9)])),
    "weights that are not all numbers": ("model", lambda: draw_weight_journey(DecoderLM(config(1)), without_numbers())),
    "too far ahead": ("lookahead", lambda: draw_speculation(**drafted(1) | {"lookahead": 6})),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_has_no_room_is_refused(fault: str) -> None:
    field, call = REFUSED[fault]
    with pytest.raises(ValueError, match=f"^{field}"):
        call()


def written(drawing: Drawing) -> list[str]:
    assert faults(drawing.svg) == []
    return [text.words for text in texts(drawing.svg)]


def test_an_lstm_is_unrolled_as_well() -> None:
    assert written(draw_unrolled(nn.LSTM(2, 4), ROWS, list("abcd"))).count("LSTM") == 5


def test_a_cache_of_shared_heads_is_smaller() -> None:
    shared = replace(config(1), attention=AttentionConfig(num_heads=4, num_kv_heads=1))
    assert "1 × 3 × 8" in written(draw_cache(DecoderLM(shared), ["a", "b", "c"], ["d"]))


def test_the_search_keeps_what_the_library_keeps() -> None:
    words = written(draw_beam_search(**fork(2)))
    # Both beginnings with what may follow each, the better text last: b and c, 0.4 times 0.9.
    assert [word for word in words if word[0] == "0"] == [
        *("0.6", "0.4"),
        *("0.24", "0.18", "0.18"),
        *("0.02", "0.02", "0.36"),
    ]


def test_a_negative_number_has_a_minus_sign() -> None:
    drawing = draw_attention_graph(-ROWS[0], ROWS[:1], ROWS[:1], ROWS[0])
    assert "q = (−1, −1)" in written(drawing)
