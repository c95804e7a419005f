"""A stack of layers that differ: in windows, positions, norms, experts, and in how scores become weights."""

import dataclasses
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracles import CONFIG, close, integers, randomise, rejects
from transformer_lib.config import (
    Alibi,
    AttentionConfig,
    Experts,
    GatedDelta,
    Glu,
    LatentAttention,
    LayerConfig,
    LinearAttention,
    ModelConfig,
    NoPositions,
    Norm,
    Rope,
    SharedExpert,
    from_json,
    to_json,
)
from transformer_lib.config.plain import require_plain
from transformer_lib.generation import beam_search, generate, speculate
from transformer_lib.models import DecoderLM, Encoder
from transformer_lib.nn.block import Block
from transformer_lib.nn.cache import KVCache
from transformer_lib.nn.fixed_cache import FixedCache
from transformer_lib.nn.rolling_cache import RollingCache
from transformer_lib.training.plan import parameters

ATTENTION = AttentionConfig(num_heads=4, num_kv_heads=2)
EXPERTS = Experts(num_experts=4, top_k=2, d_ff=6, shared=SharedExpert(d_ff=5, gated=True))
LAYERS = (
    LayerConfig(attention=dataclasses.replace(ATTENTION, window=3), positions=Rope(theta=50.0)),
    LayerConfig(attention=dataclasses.replace(ATTENTION, soft_cap=2.0, gate=True), norm_order="both"),
    LayerConfig(positions=NoPositions(), norm_order="part", feedforward=Glu(d_ff=7)),
    LayerConfig(attention=dataclasses.replace(ATTENTION, sinks=True, scale=0.7, qk_norm="whole"), feedforward=EXPERTS),
    LayerConfig(
        positions=Alibi(), norm_order="post", attention=dataclasses.replace(ATTENTION, head_dim=6, num_kv_heads=4)
    ),
    LayerConfig(positions=Rope(share=0.5), attention_norm=False),
)
MIXED = dataclasses.replace(
    CONFIG,
    num_layers=8,
    attention=ATTENTION,
    positions=Rope(),
    norm=Norm(kind="rms"),
    residual_scale=0.8,
    logit_cap=3.0,
    pattern=LAYERS,
)


LATENT = LatentAttention(num_heads=3, head_dim=6, rope_dim=4, value_dim=5, kv_rank=7)
HYBRID = dataclasses.replace(
    CONFIG,
    num_layers=7,
    positions=Rope(),
    norm=Norm(kind="rms"),
    pattern=(
        LayerConfig(attention=GatedDelta(num_heads=4, num_key_heads=2, key_dim=4, value_dim=6)),
        LayerConfig(attention=LATENT),
        LayerConfig(attention=LinearAttention(num_heads=2)),
        LayerConfig(attention=dataclasses.replace(ATTENTION, window=4), feedforward=EXPERTS),
        LayerConfig(),
    ),
)
BOTH = pytest.mark.parametrize("config", [MIXED, HYBRID], ids=["mixed", "hybrid"])


def model(config: ModelConfig = MIXED) -> DecoderLM:
    return randomise(DecoderLM(config))


def test_the_pattern_is_repeated_and_cut_at_the_end() -> None:
    layers = MIXED.layers
    assert len(layers) == 8 and [layer.attention.window for layer in layers] == [3, *[None] * 5, 3, None]
    assert [type(layer.positions).__name__ for layer in layers[:5]] == ["Rope", "Rope", "NoPositions", "Rope", "Alibi"]
    assert layers[2].feedforward == Glu(d_ff=7) and layers[0].feedforward == CONFIG.feedforward
    assert [count for _, count in MIXED.tally] == [2, 2, 1, 1, 1, 1]
    for config in (MIXED, HYBRID):
        assert from_json(to_json(config)) == config


def test_a_pattern_that_changes_nothing_is_the_same_model() -> None:
    plain = dataclasses.replace(CONFIG, num_layers=3)
    same = dataclasses.replace(plain, pattern=(LayerConfig(), LayerConfig(attention=CONFIG.attention)))
    ours, other = model(plain), model(same)
    tokens = integers(13, 2, 7)
    assert torch.equal(ours(tokens), other(tokens))
    assert len(other.kinds.configs) == 1, "one mask and one rotation serve all layers that are alike"


@BOTH
@settings(max_examples=25)
@given(cuts=st.lists(st.integers(1, 8), max_size=4), left=st.integers(0, 3))
def test_any_split_behind_a_cache_equals_one_pass(config: ModelConfig, cuts: list[int], left: int) -> None:
    ours, tokens = model(config), integers(13, 2, 9)
    valid = torch.ones(2, 9, dtype=torch.bool)
    valid[1, :left] = False
    whole = ours(tokens, valid=valid)
    cache = ours.new_cache(2, 9)
    ends = sorted({*cuts, 9})
    parts = [
        ours(tokens[:, start:end], valid=valid[:, start:end], cache=cache)
        for start, end in zip([0, *ends], ends, strict=False)
    ]
    close(torch.cat(parts, dim=1)[valid], whole[valid])


@settings(max_examples=10)
@given(kept=st.integers(1, 8))
def test_rewinding_forgets(kept: int) -> None:
    ours, tokens = model(), integers(13, 1, 9)
    cache = ours.new_cache(1, 9)
    ours(integers(13, 1, 9, seed=5), cache=cache)
    cache.rewind(0)
    ours(tokens, cache=cache)
    cache.rewind(kept)
    close(ours(tokens[:, kept:], cache=cache), ours(tokens)[:, kept:])


@BOTH
def test_neither_padding_nor_batch_mates_change_a_row(config: ModelConfig) -> None:
    ours, tokens = model(config), integers(13, 3, 9)
    valid = torch.ones(3, 9, dtype=torch.bool)
    valid[0, 6:] = valid[2, :4] = False
    got = ours(tokens, valid=valid)
    close(got[0, :6], ours(tokens[:1, :6])[0])
    close(got[2, 4:], ours(tokens[2:, 4:])[0])
    close(got[1], ours(tokens[1:2])[0])


def test_a_layer_sees_no_further_than_its_own_window() -> None:
    near = LayerConfig(attention=dataclasses.replace(ATTENTION, window=2))
    config = dataclasses.replace(MIXED, num_layers=2, pattern=(near,), logit_cap=None)
    tokens = integers(13, 1, 9)
    other = tokens.clone()
    other[0, 0] = (tokens[0, 0] + 1) % 13
    ours = model(config)
    changed = (ours(tokens) != ours(other)).any(dim=-1)[0]
    assert changed.tolist() == [True] * 3 + [False] * 6, "two layers that look one back reach two back"
    far = model(dataclasses.replace(config, pattern=(near, LayerConfig())))
    assert bool((far(tokens) != far(other)).any(dim=-1).all())


def test_an_encoder_has_layers_of_many_kinds_too() -> None:
    near = LayerConfig(
        attention=dataclasses.replace(ATTENTION, window=2), positions=Rope(theta=30.0), attention_norm=False
    )
    config = dataclasses.replace(MIXED, num_layers=3, pattern=(near, LayerConfig()), logit_cap=None)
    encoder = randomise(Encoder(config))
    assert isinstance(encoder.blocks[0].attention_norm, torch.nn.Identity)
    tokens = integers(13, 2, 9)
    one = randomise(Encoder(dataclasses.replace(config, num_layers=1, pattern=(near,))))
    other = tokens.clone()
    other[:, 8] = (tokens[:, 8] + 1) % 13
    reached = (one(tokens) != one(other)).any(dim=-1)
    assert reached.sum(dim=1).tolist() == [2, 2], "a window of 2 looks one position to either side"
    assert bool((encoder(tokens) != encoder(other)).any(dim=-1).all())


def test_an_encoder_refuses_layers_that_read_in_one_direction() -> None:
    with rejects("attention", "AttentionConfig", "GatedDelta"):
        Encoder(HYBRID)


@pytest.mark.parametrize("order", ["pre", "post", "part", "both"])
def test_where_the_norms_stand(order: Any) -> None:
    block = randomise(Block(dataclasses.replace(CONFIG, norm_order=order, residual_scale=0.5)))
    x = torch.randn(2, 5, CONFIG.d_model, dtype=torch.float64, generator=torch.Generator().manual_seed(3))

    def add(x: torch.Tensor, part: Any, norm: Any, out_norm: Any) -> torch.Tensor:
        match order:
            case "pre":
                return x + 0.5 * part(norm(x))
            case "post":
                return norm(x + 0.5 * part(x))
            case "part":
                return x + 0.5 * norm(part(x))
        return x + 0.5 * out_norm(part(norm(x)))

    wanted = add(x, block.attention, block.attention_norm, block.attention_out_norm)
    wanted = add(wanted, block.feedforward, block.feedforward_norm, block.feedforward_out_norm)
    close(block(x), wanted)


def test_what_stands_behind_the_last_layer() -> None:
    for order, final in [("pre", True), ("part", True), ("both", True), ("post", False)]:
        ours = DecoderLM(dataclasses.replace(CONFIG, norm_order=order))
        assert isinstance(ours.final_norm, torch.nn.Identity) != final


@pytest.mark.parametrize("first, last", [("post", "pre"), ("pre", "post")])
def test_the_last_layer_says_whether_a_norm_stands_behind_it(first: Any, last: Any) -> None:
    config = dataclasses.replace(
        CONFIG, norm_order=first, num_layers=3, pattern=(LayerConfig(), LayerConfig(), LayerConfig(norm_order=last))
    )
    ours = model(config)
    assert isinstance(ours.final_norm, torch.nn.Identity) == (last == "post")
    assert sum(weight.numel() for weight in ours.parameters()) == parameters(config).total
    cut = dataclasses.replace(config, num_layers=4)
    assert isinstance(DecoderLM(cut).final_norm, torch.nn.Identity) == (first == "post"), "the pattern begins again"


def test_logits_are_bent_by_their_cap() -> None:
    ours = model()
    free = DecoderLM(dataclasses.replace(MIXED, logit_cap=None)).double().eval()
    free.load_state_dict(ours.state_dict())
    tokens = integers(13, 2, 6)
    close(ours(tokens), 3.0 * torch.tanh(free(tokens) / 3.0))


def test_the_load_of_the_experts_goes_into_what_the_caller_passes() -> None:
    ours, tokens = model(), integers(13, 2, 6)
    valid = torch.ones(2, 6, dtype=torch.bool)
    valid[0, 4:] = False
    loads = ours.new_loads()
    assert [load is not None for load in loads] == [index == 3 for index in range(8)]
    got = ours(tokens, valid=valid, loads=loads)
    assert torch.equal(got, ours(tokens, valid=valid)), "who counts changes nothing"
    load = loads[3]
    assert load is not None and int(load.tokens) == 10 and int(load.counts.sum()) == 20
    load.balancing_loss().backward()
    assert ours.blocks[3].feedforward.router.to_scores.weight.grad is not None
    with rejects("loads", "each of 8 layers", "1"):
        ours(tokens, loads=[None])


@pytest.mark.parametrize("pattern", [(), LAYERS, LAYERS[3:4], (*LAYERS[:2], LAYERS[4]), HYBRID.pattern])
def test_weights_are_counted_as_they_are(pattern: tuple[LayerConfig, ...]) -> None:
    for change in ({}, {"tie_embeddings": False, "norm": Norm(bias=False)}, {"norm_order": "both"}):
        if "norm_order" in change and any(layer.attention_norm is False for layer in pattern):
            continue
        config = dataclasses.replace(MIXED, pattern=pattern, **change)
        assert parameters(config).total == sum(weight.numel() for weight in DecoderLM(config).parameters())


def test_of_the_experts_a_token_meets_those_it_chooses() -> None:
    dense = dataclasses.replace(MIXED, pattern=(), num_layers=1)
    sparse = dataclasses.replace(dense, feedforward=dataclasses.replace(EXPERTS, shared=None))
    d = CONFIG.d_model
    without = parameters(dense).matmul - 3 * d * CONFIG.feedforward.d_ff
    assert parameters(sparse).matmul == without + 2 * 3 * d * 6 + 4 * d, "two of four experts, and the router"


@pytest.mark.parametrize(
    "change, words",
    [
        ({"num_layers": 5}, ("pattern", "at most num_layers=5", "6")),
        ({"pattern": (LayerConfig(positions=Rope(share=0.3)),)}, ("head_dim", "share=0.3 must be even", "4")),
        (
            {"pattern": (LayerConfig(attention=AttentionConfig(num_heads=3)),)},
            ("d_model", "divisible by num_heads=3", "16"),
        ),
        (
            {"pattern": (LayerConfig(norm_order="part", attention_norm=False),)},
            ("attention_norm", "norm_order is 'pre'"),
        ),
        ({"pattern": (LayerConfig(attention=LATENT, positions=Rope(share=0.5)),)}, ("positions", "share of 1", "0.5")),
        ({"residual_scale": 0.0}, ("residual_scale", "at least 1e-06", "0.0")),
        ({"logit_cap": -1.0}, ("logit_cap", "at least 1e-06", "-1.0")),
    ],
)
def test_a_stack_that_makes_no_sense_is_refused(change: dict[str, Any], words: tuple[str, ...]) -> None:
    with rejects(*words):
        dataclasses.replace(MIXED, **change)


def test_rows_of_a_hybrids_cache_can_be_chosen_and_it_can_begin_anew() -> None:
    ours, tokens = model(HYBRID), integers(13, 2, 9)
    cache = ours.new_cache(2, 9)
    ours(integers(13, 2, 5, seed=4), cache=cache)
    cache.rewind(0)
    ours(tokens[:, :5], cache=cache)
    cache.select(torch.tensor([1, 1, 0]))
    close(ours(tokens[[1, 1, 0], 5:], cache=cache), ours(tokens)[[1, 1, 0], 5:])
    close(generate(ours, tokens, max_new_tokens=4).tokens.double(), _greedy(ours, tokens, 4).double())


def _greedy(ours: DecoderLM, tokens: torch.Tensor, steps: int) -> torch.Tensor:
    for _ in range(steps):
        tokens = torch.cat([tokens, ours(tokens)[:, -1:].argmax(dim=-1)], dim=1)
    return tokens[:, -steps:]


def test_what_a_recurrent_state_cannot_do_is_refused() -> None:
    ours, tokens = model(HYBRID), integers(13, 1, 6)
    cache = ours.new_cache(1, 9)
    ours(tokens, cache=cache)
    with rejects("cache", "must not be rewound", "[0, 2, 5]"):
        cache.rewind(3)
    with rejects("past", "recurrent state"):
        ours(tokens[:, :2], past=torch.ones(1, 2, 2, dtype=torch.bool))
    for kind in (RollingCache, FixedCache):
        with rejects("attention", "AttentionConfig in every layer", "GatedDelta"):
            kind(HYBRID, 1, **({"window": 4} if kind is RollingCache else {"max_length": 4}))
    with rejects("attention", "AttentionConfig", "GatedDelta"):
        Encoder(HYBRID)(tokens)
    with rejects("positions", "must not be Alibi for LatentAttention"):
        dataclasses.replace(HYBRID, positions=Alibi())


def test_a_hybrid_goes_back_to_where_it_was_marked() -> None:
    ours, tokens = model(HYBRID), integers(13, 2, 9)
    whole, cache = ours(tokens), ours.new_cache(2, 12)
    ours(tokens[:, :4], cache=cache)
    cache.mark()
    for wrong in (3, 1):  # two drafts that are refused
        ours(integers(13, 2, wrong, seed=7), cache=cache)
        with rejects("cache", "must not be rewound"):
            cache.rewind(3)
        cache.rewind(4)
    cache.select(torch.tensor([1, 0]))
    ours(tokens[:, :2], cache=cache)
    cache.rewind(4)
    close(ours(tokens[[1, 0], 4:], cache=cache), whole[[1, 0], 4:])


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("stop_ids", [(), (3, 7)])
def test_beams_of_a_hybrid_are_those_of_one_text_a_row(beams: int, stop_ids: tuple[int, ...]) -> None:
    ours, prompts = model(HYBRID), integers(13, 2, 6)
    valid = torch.ones(2, 6, dtype=torch.bool)
    valid[1, :3] = False
    options: dict[str, Any] = {"beams": beams, "max_new_tokens": 5, "stop_ids": stop_ids}
    found = beam_search(ours, prompts, valid=valid, **options)
    for row, prompt in enumerate((prompts[:1], prompts[1:, 3:])):
        for beam, text in enumerate(found.tokens[row]):
            text = text[: found.lengths[row, beam]]
            read = torch.cat([prompt[0], text])[None]
            log_probs = ours(read).log_softmax(dim=-1)[0, prompt.shape[1] - 1 : -1]
            close(log_probs.gather(1, text[:, None]).sum(), found.log_probs[row, beam])
        best = beam_search(_Whole(ours), prompt, **options)
        length = found.tokens.shape[2] if stop_ids == () else int(found.lengths[row, 0])
        assert torch.equal(found.tokens[row, 0, :length], best.tokens[0, 0, :length])
        close(found.scores[row], best.scores[0])


class _Whole:
    """The same model, which reads the whole of each text anew: its cache has attention alone, and holds nothing."""

    training, context = False, None

    def __init__(self, ours: DecoderLM) -> None:
        self.ours = ours
        self.texts: torch.Tensor | None = None

    def new_cache(self, batch: int, max_length: int) -> KVCache:
        return KVCache(CONFIG, batch, max_length, dtype=torch.float64)

    def __call__(
        self, tokens: torch.Tensor, *, cache: Any = None, past: torch.Tensor | None = None, **_: Any
    ) -> torch.Tensor:
        """`past` says which of the tokens read so far each new one continues."""
        self.texts = tokens if past is None or self.texts is None else torch.cat([self.texts, tokens], dim=1)
        if past is None:
            return self.ours(tokens)[:, -1:]
        return torch.stack([self.ours(self.texts[:1, row.bool()])[0, -1] for row in past[0]])[None]


class _Counted:
    """A draft that counts the tokens that it reads."""

    training, context = False, None

    def __init__(self, ours: DecoderLM) -> None:
        self.ours, self.read = ours, 0

    def new_cache(self, batch: int, max_length: int) -> KVCache:
        return self.ours.new_cache(batch, max_length)

    def __call__(self, tokens: torch.Tensor, **options: Any) -> torch.Tensor:
        self.read += tokens.shape[1]
        return self.ours(tokens, **options)


@pytest.mark.parametrize("lookahead", [1, 3, 6])
def test_a_hybrid_speculates_greedily_as_it_writes(lookahead: int) -> None:
    ours, tokens = model(HYBRID), integers(13, 1, 6)
    plain = generate(ours, tokens, max_new_tokens=14).tokens[0]
    other = model(dataclasses.replace(HYBRID, norm=Norm(kind="rms", eps=0.1)))
    for draft in (ours, other, model(CONFIG)):  # all is kept, little, and by one that can forget
        found = speculate(ours, draft, tokens, max_new_tokens=14, lookahead=lookahead, temperature=0.0)
        assert torch.equal(found.tokens, plain)
    counted = _Counted(other)
    speculate(ours, counted, integers(13, 1, 60), max_new_tokens=14, lookahead=lookahead, temperature=0.0)
    assert counted.read <= 60 + 14 * 2 * (lookahead + 1), "the prompt is not read again after each refusal"
    own = speculate(ours, ours, tokens, max_new_tokens=14, lookahead=lookahead, temperature=0.0)
    assert own.accepted == own.drafted and own.passes < 14


@pytest.mark.parametrize("change", [{"pattern": LAYERS[3:4]}, {"norm": Norm(kind="rms", centred=True)}])
def test_what_knows_the_first_models_alone_says_what_is_new(change: dict[str, Any]) -> None:
    with rejects("config", "must be without these parts"):
        require_plain(dataclasses.replace(CONFIG, **change))
    require_plain(CONFIG)


def test_what_needs_layers_that_are_alike_says_so() -> None:
    with rejects("pattern", "must be alike"):
        MIXED.multihead  # noqa: B018
    with rejects("cache", "as many heads of the same width"):
        model().new_cache(1, 4).keys  # noqa: B018
    with rejects("cache", "kv_heads and head_dim"):
        model()(integers(13, 1, 3), cache=model(CONFIG).new_cache(1, 4))
    with rejects("norm_order", "cross_attention", "both"):
        Block(dataclasses.replace(CONFIG, norm_order="both"), cross_attention=True)


def test_a_rolling_cache_bounds_every_layer() -> None:
    layers = (
        LayerConfig(attention=dataclasses.replace(ATTENTION, window=3)),
        LayerConfig(attention=dataclasses.replace(ATTENTION, window=5)),
    )
    ours = model(dataclasses.replace(MIXED, num_layers=4, pattern=layers))
    tokens = integers(13, 1, 12)
    cache = RollingCache(ours.config, 1, window=5, dtype=torch.float64)
    parts = [ours(tokens[:, start : start + 2], cache=cache) for start in range(0, 12, 2)]
    close(torch.cat(parts, dim=1), ours(tokens))
