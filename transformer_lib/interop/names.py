"""Which weight of Hugging Face's is which of ours: a map that is read in both directions; `families` has one for each.

A line of a map names one of our modules and the modules of theirs whose rows, one below the other, it consists of; `*`
is the number of a layer. What follows, `weight` or `bias`, is the same on both sides, or else stands in the line. Lines
that begin with `blocks.*.experts` are about the `feedforward` of layers that have experts, `blocks.*.latent` and
`blocks.*.delta` about the `attention` of other kinds; where theirs has a `#`, the number of an expert, ours is the
stack of all experts'.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from transformer_lib.checks import require
from transformer_lib.config import Experts, GatedDelta, LatentAttention, ModelConfig, Seq2SeqConfig
from transformer_lib.contract import checked
from transformer_lib.interop.layouts import Split
from transformer_lib.models.heads import Pooling

Named = dict[str, Tensor]
Config = ModelConfig | Seq2SeqConfig
Computed = Callable[[Tensor, Config], bool]  # whether a tensor that they store is what we compute
POSITIONS = "embedding.positions.weight"


@checked
@dataclass(frozen=True, kw_only=True)
class Family:
    """The names of one `model_type`.

    `architectures` gives the class of ours for each of theirs. `prefix` begins the names of the bare model where it
    has a head, and is missing where it has none. `tied` are further names of a weight that has one already. `unused`
    lists, for a class of theirs, patterns of weights that stand in its files though it computes nothing with them.
    """

    model_type: str
    architectures: dict[str, str]
    prefix: str
    names: dict[str, tuple[str, ...]]
    tied: dict[str, str]
    computed: dict[str, Computed] = field(default_factory=dict)
    transposed: tuple[str, ...] = ()  # modules of theirs whose weight is stored as (in, out)
    sines_first: bool = False  # their sinusoids are all sines, then all cosines; ours alternate (Vaswani et al. 2017)
    first_position: int = 0  # rows of their position table that stand before that of a text's first token
    unused: dict[str, tuple[str, ...]] = field(default_factory=dict)
    pooling: Pooling = "tanh"  # of a classifier of texts
    always_gelu: bool = False  # whether the head of a masked language model has GELU, as ours, whatever the layers have
    splits: dict[str, Split] = field(default_factory=dict)  # tensors of theirs that hold several

    def theirs(self, name: str, layer_config: ModelConfig | None = None) -> list[str]:
        """Their names for what we call `name`, in such a layer."""
        pattern = re.sub(r"(?<=blocks\.)\d+", "*", name)
        layer = re.search(r"(?<=blocks\.)\d+", name)
        if layer_config is not None:
            pattern = _by_kind(pattern, layer_config)
        module, _, kind = pattern.rpartition(".")
        known = pattern in self.names or module in self.names
        require(known, "name", f"must be of a weight that {self.model_type!r} has a place for", name)
        found = self.names.get(pattern) or tuple(f"{part}.{kind}" for part in self.names[module])
        return [part.replace("*", layer.group()) if layer else part for part in found]


@checked
def to_theirs(tensors: Named, family: Family, config: Config) -> Named:
    """Our tensors under their names and in their layout."""
    found: Named = {}
    layers = _layers(config)
    for name, tensor in tensors.items():
        layer = _layer_of(name, layers)
        parts = family.theirs(name, layer)
        tensor = _reorder(name, tensor, stream_order(family, config, back=False))
        if name == POSITIONS and family.first_position:
            none = tensor.new_zeros(family.first_position, *tensor.shape[1:])
            tensor = torch.cat([none, tensor])
        if "#" in parts[0]:
            rows = tensor.unbind()
            parts = [parts[0].replace("#", str(expert)) for expert in range(len(rows))]
        elif len(parts) > 1:
            heads = _heads(name, config, layer)
            require(tensor.shape[:1] == (sum(heads),), name, f"must have {sum(heads)} rows", tuple(tensor.shape))
            rows = tensor.split(heads)
        else:
            rows = (tensor,)
        found |= {part: _layout(part, piece, family) for part, piece in zip(parts, rows, strict=True)}
    for pattern, split in family.splits.items():
        for number, names in _whole_of(pattern, split, found):
            whole = split.together([found.pop(name) for name in names], layers[number])
            found[pattern.replace("*", str(number))] = whole.contiguous()
    return found


@checked
def to_ours(tensors: Named, family: Family, config: Config, names: Iterable[str]) -> Named:
    """Their tensors, of the right shapes, as ours of these names."""
    found: Named = {}
    layers = _layers(config)
    tensors = _apart(tensors, family, layers)
    for name in names:
        layer = _layer_of(name, layers)
        parts = family.theirs(name, layer)
        stacked = "#" in parts[0]
        if stacked and isinstance(layer.feedforward, Experts):
            parts = [parts[0].replace("#", str(expert)) for expert in range(layer.feedforward.num_experts)]
        missing = [part for part in parts if part not in tensors]
        require(not missing, "tensors", f"must hold all that {name} consists of; missing are", missing)
        rows = [_layout(part, tensors[part], family) for part in parts]
        shapes = [tuple(row.shape) for row in rows]
        fit = len({shape[1:] for shape in shapes}) == 1 and (len(rows) == 1 or all(shapes))
        require(fit, name, "must consist of tensors of the same width", shapes)
        whole = torch.stack(rows) if stacked else torch.cat(rows) if len(rows) > 1 else rows[0]
        if name == POSITIONS:
            whole = whole[family.first_position :]
        found[name] = _reorder(name, whole, stream_order(family, config, back=True)).contiguous()
    return found


def _layout(part: str, tensor: Tensor, family: Family) -> Tensor:
    """Its own inverse."""
    if part == "final_logits_bias":
        fits = tensor.ndim == 1 or (tensor.ndim == 2 and len(tensor) == 1)
        require(fits, part, "must be one row of numbers", tuple(tensor.shape))
        return tensor[None] if tensor.ndim == 1 else tensor[0]
    swapped = tensor.ndim == 2 and part.split(".")[-2] in family.transposed
    return tensor.mT if swapped else tensor


def _by_kind(pattern: str, layer: ModelConfig) -> str:
    """The name of a weight in a layer, by the kind of part that it is in."""
    if isinstance(layer.feedforward, Experts):
        pattern = pattern.replace("blocks.*.feedforward.", "blocks.*.experts.")
    match layer.attention:
        case LatentAttention(q_rank=rank):
            pattern = pattern.replace("blocks.*.attention.", "blocks.*.latent.")
            return pattern if rank else pattern.replace(".latent.to_q.", ".latent.uncompressed.to_q.")
        case GatedDelta():
            return pattern.replace("blocks.*.attention.", "blocks.*.delta.")
        case _:
            return pattern


def _layers(config: Config) -> tuple[ModelConfig, ...]:
    """The layers of the one stack; in an encoder-decoder, whose layers are alike, those of the decoder."""
    return config.decoder.layers if isinstance(config, Seq2SeqConfig) else config.layers


def _layer_of(name: str, layers: tuple[ModelConfig, ...]) -> ModelConfig:
    """The layer that a weight of ours is in; of those in none, any."""
    found = re.search(r"(?<=blocks\.)\d+", name)
    return layers[min(int(found.group()), len(layers) - 1) if found else 0]


def _whole_of(pattern: str, split: Split, found: Named) -> list[tuple[int, list[str]]]:
    """The layers in which all parts of a tensor of theirs are there, with the names of the parts."""
    first = re.compile(re.escape(split.parts[0]).replace(r"\*", r"(\d+)"))
    numbers = [int(match.group(1)) for name in found if (match := first.fullmatch(name))]
    names = [(number, [part.replace("*", str(number)) for part in split.parts]) for number in numbers]
    return [(number, parts) for number, parts in names if all(part in found for part in parts)]


def _apart(tensors: Named, family: Family, layers: tuple[ModelConfig, ...]) -> Named:
    """The tensors of theirs, with those that hold several taken apart."""
    found = dict(tensors)
    for pattern, split in family.splits.items():
        form = re.compile(re.escape(pattern).replace(r"\*", r"(\d+)"))
        for name in list(found):
            if match := form.fullmatch(name):
                pieces = split.apart(found.pop(name), layers[int(match.group(1))])
                parts = [part.replace("*", match.group(1)) for part in split.parts]
                found |= dict(zip(parts, pieces, strict=True))
    return found


def _heads(name: str, config: Config, layer: ModelConfig) -> list[int]:
    """The rows of queries, keys and values."""
    if isinstance(config, Seq2SeqConfig) and name.startswith("encoder."):
        layer = config.encoder
    attention = layer.heads
    return [heads * layer.head_dim for heads in (attention.num_heads, attention.kv_heads, attention.kv_heads)]


@checked
def stream_order(family: Family, config: Config, *, back: bool) -> Tensor | None:
    """The order in which a family has our channels of the stream, or `back`, ours of theirs; None if it is the same."""
    if not (family.sines_first and isinstance(config, Seq2SeqConfig)):
        return None
    channels = torch.arange(config.decoder.d_model)
    order = torch.cat([channels[0::2], channels[1::2]])
    return order.argsort() if back else order


def _reorder(name: str, tensor: Tensor, order: Tensor | None) -> Tensor:
    """Nothing but the sinusoids knows an order of the stream's channels, so all that touches the stream can change."""
    if order is None or name == "head.bias":
        return tensor
    order = order.to(tensor.device)
    writes = "to_out" in name or "norm" in name
    if writes or name.endswith("weight"):
        channels = tensor.shape[:1] if writes else tensor.shape[1:2]
        require(channels == (len(order),), name, f"must have {len(order)} channels", tuple(tensor.shape))
    if writes:
        return tensor[order]
    return tensor[:, order] if name.endswith("weight") else tensor
