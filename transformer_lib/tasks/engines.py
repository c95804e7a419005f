"""A translator or a writer whose texts CTranslate2 finds: the same calls, the same tokens in float32, less time.

`on_engine` makes one of the other. Reading a text, its limits and its spelling stay ours, since only the search is the
engine's (`interop.engines` says where it may differ). Of what OPUS-MT's folders may say, a first token that has to be
written is refused; a last one that is forced where a text is cut is put there after the search.
Left out: several processes, and conversations.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch

from transformer_lib.checks import require
from transformer_lib.contract import checked
from transformer_lib.generation.beam import Beams
from transformer_lib.interop.engine_folder import Compute, converted
from transformer_lib.interop.engines import EngineLM, EngineSeq2Seq
from transformer_lib.tasks.language_model import Writer
from transformer_lib.tasks.opus import MOST_NEW as MOST_TRANSLATED
from transformer_lib.tasks.opus import OpusTranslator
from transformer_lib.tasks.translation import END, START, Translator

OnEngine: TypeAlias = "EngineTranslator | EngineOpusTranslator | EngineWriter"


@checked
@dataclass(frozen=True, kw_only=True)
class EngineTranslator(Translator):
    """A `Translator` that searches with an engine of the same model."""

    engine: EngineSeq2Seq

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_same(self.engine, self.model)

    def _write(self, sources: list[list[int]], limit: int, beams: int, length_penalty: float) -> Beams:
        special = self.tokenizer.special_tokens
        return self.engine.beam_search(
            sources,
            start_id=special[START],
            beams=beams,
            max_new_tokens=min(limit, self.model.context or limit),
            stop_ids=[special[END]],
            length_penalty=length_penalty,
        )


@checked
@dataclass(frozen=True, kw_only=True)
class EngineOpusTranslator(OpusTranslator):
    """An `OpusTranslator` that searches with an engine of the same model."""

    engine: EngineSeq2Seq

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_same(self.engine, self.model)
        require(self.settings.first_id is None, "first_id", "must be None for an engine", self.settings.first_id)

    def _write(self, sources: list[list[int]], limit: int, beams: int, length_penalty: float) -> Beams:
        limit, last = min(limit, self.model.context or MOST_TRANSLATED), self.settings.last_id
        require(last is None or limit > 1, "max_new_tokens", "must be at least 2, of which the last is forced", limit)
        assert self.settings.start_id is not None
        found = self.engine.beam_search(
            sources,
            start_id=self.settings.start_id,
            beams=beams,
            max_new_tokens=limit if last is None else limit - 1,
            stop_ids=self._stops,
            length_penalty=length_penalty,
            forbidden_ids=self._forbidden,
        )
        return found if last is None else ended(found, limit, last, self._stops, length_penalty)


@checked
@dataclass(frozen=True, kw_only=True)
class EngineWriter(Writer):
    """A `Writer` whose tokens an engine of the same model picks. A seed draws other texts than it does for a `Writer`.

    Each drawn text loads the weights anew, because the engine takes a seed only then.
    """

    engine: EngineLM

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_same(self.engine, self.model)

    def _write(self, ids: Sequence[int], new: int, *, temperature: float, top_p: float, seed: int) -> list[int]:
        if temperature > 0:
            self.engine.reseed(seed)
        [written] = self.engine.generate(
            [ids],
            max_new_tokens=new,
            temperature=temperature,
            top_p=top_p,
            stop_ids=self._stops,
            forbidden_ids=self._forbidden,
        )
        return written


@checked
def on_engine(
    tool: Translator | OpusTranslator | Writer, cache: str | Path, *, compute: Compute = "float32"
) -> OnEngine:
    """The same tool, searching with CTranslate2; the converted model is kept in the folder `cache`.

    `ValueError` for a model that it has no place for, and for weights of a type that the processor does not multiply.
    """
    folder = converted(tool.model, cache, compute=compute)
    fields: dict[str, Any] = {field.name: getattr(tool, field.name) for field in dataclasses.fields(tool)}
    match tool:
        case Writer():
            return EngineWriter(**fields, engine=EngineLM(folder))
        case Translator():
            return EngineTranslator(**fields, engine=EngineSeq2Seq(folder))
        case OpusTranslator():
            return EngineOpusTranslator(**fields, engine=EngineSeq2Seq(folder))


def _check_same(engine: EngineLM | EngineSeq2Seq, model: Any) -> None:
    require(engine.config == model.config, "engine", "must have the config of the model", engine.config)


@checked
def ended(found: Beams, limit: int, last: int, stops: Sequence[int], length_penalty: float) -> Beams:
    """Put the forced token behind texts that are still open after `limit - 1`; it adds 0 to their log-probability."""
    tokens = torch.cat([found.tokens, found.tokens[..., -1:]], dim=2)[..., :limit]
    is_open = (found.lengths == limit - 1) & ~torch.isin(found.tokens[..., -1], torch.tensor(stops))
    if is_open.any():
        tokens[..., -1] = tokens[..., -1].masked_fill(is_open, last)
    lengths = found.lengths + is_open
    scores = found.log_probs / lengths.clamp(min=1) ** length_penalty
    order = scores.argsort(dim=1, descending=True, stable=True)
    rows = order[..., None].expand_as(tokens)
    return Beams(
        tokens.gather(1, rows), lengths.gather(1, order), found.log_probs.gather(1, order), scores.gather(1, order)
    )
