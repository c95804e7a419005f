"""What a folder of Hugging Face's says about writing: where a text ends, and which tokens it may not hold or must.

It stands in `generation_config.json`, or, in folders older than that file, among the fields of `config.json`. Every
field is accounted for, as in `configs`: it is read and passed on, or is what each call of ours says anyway, or has the
value at which it does nothing. Anything else is a `ValueError` that lists it.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformer_lib.checks import require, require_positive, shown
from transformer_lib.contract import checked
from transformer_lib.files import read_json

FILE, CONFIG = "generation_config.json", "config.json"

READ = frozenset(
    [
        *("eos_token_id", "bad_words_ids", "suppress_tokens", "decoder_start_token_id"),
        *("forced_bos_token_id", "forced_eos_token_id"),
    ]
)
# Set aside, each line for its reason.
ASIDE = {
    "each call says how long a text may become": ("max_length", "max_new_tokens"),
    "each call says how a token is drawn": ("do_sample", "temperature", "top_k", "top_p", "min_p"),
    "each call says how it searches, and what the score of a beam is": (
        *("num_beams", "num_return_sequences", "length_penalty", "early_stopping", "renormalize_logits"),
    ),
    "a prompt begins as its tokenizer says": ("bos_token_id",),
    "nothing looks at padding": ("pad_token_id",),
    "it changes what is given back beside the text": (
        *("output_attentions", "output_hidden_states", "output_scores", "output_logits"),
        *("return_dict_in_generate", "return_legacy_cache"),
    ),
    "it changes how the numbers are computed, not which": (
        *("use_cache", "max_cache_len", "compile_config", "disable_compile", "continuous_batching_config"),
        *("prefill_chunk_size", "low_memory"),
    ),
    "drafts by another model leave the probabilities as they are": (
        *("is_assistant", "num_assistant_tokens", "num_assistant_tokens_schedule", "assistant_confidence_threshold"),
        *("assistant_early_exit", "assistant_lookbehind", "target_lookbehind", "prompt_lookup_num_tokens"),
        *("max_matching_ngram_size", "speculation_type", "use_mtp"),
    ),
    "it replaces numbers that are not finite, which these models do not give": ("remove_invalid_values",),
    "it says where the file comes from": (
        *("transformers_version", "_from_model_config", "_commit_hash", "_original_object_hash"),
    ),
}
# What changes the text and has no counterpart here, with the values at which it does nothing.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("min_length", "no_repeat_ngram_size", "encoder_no_repeat_ngram_size"), (None, 0)),
    **dict.fromkeys(("repetition_penalty", "encoder_repetition_penalty", "typical_p"), (None, 1.0)),
    **dict.fromkeys(("epsilon_cutoff", "eta_cutoff", "diversity_penalty", "penalty_alpha", "top_h"), (None, 0.0)),
    **dict.fromkeys(("min_new_tokens",), (None, 0)),
    **dict.fromkeys(("num_beam_groups", "guidance_scale"), (None, 1)),
    **dict.fromkeys(("begin_suppress_tokens", "sequence_bias", "stop_strings"), (None, [], {})),
    **dict.fromkeys(("constraints", "force_words_ids", "dola_layers"), (None, [])),
    **dict.fromkeys(("exponential_decay_length_penalty", "max_time", "watermarking_config"), (None,)),
    **dict.fromkeys(("assistant_ensemble_weight", "cache_config"), (None,)),
    "token_healing": (None, False),
    # A quantised cache rounds.
    "cache_implementation": (
        *(None, "dynamic", "static", "offloaded", "offloaded_static", "sliding_window", "hybrid", "hybrid_chunked"),
    ),
}
FIELDS = READ | NEUTRAL.keys() | {name for names in ASIDE.values() for name in names}


@checked
@dataclass(frozen=True, kw_only=True)
class GenerationSettings:
    """What a model's authors say about writing with it, as ids of tokens.

    A text ends at one of `stop_ids` and never holds one of `forbidden_ids`. An encoder-decoder writes after `start_id`;
    its first token is `first_id`, and a text that is cut for its length ends with `last_id`. None is: not said.
    """

    stop_ids: tuple[int, ...] = ()
    forbidden_ids: tuple[int, ...] = ()
    start_id: int | None = None
    first_id: int | None = None
    last_id: int | None = None

    def forced_ids(self, max_new_tokens: int) -> dict[int, int]:
        """The tokens that have to be written, by their number from 0, in a text of at most so many new tokens."""
        require_positive(max_new_tokens=max_new_tokens)
        first = {} if self.first_id is None else {0: self.first_id}
        return first | ({} if self.last_id is None else {max_new_tokens - 1: self.last_id})


@checked
def read_generation(folder: str | Path, *, ignore: Collection[str] = ()) -> GenerationSettings:
    """What the folder says about writing; `ValueError` listing all that cannot be honoured.

    `ignore` names fields to set aside. As in transformers, `config.json` is asked only if there is no
    `generation_config.json`.
    """
    config = _read_fields(Path(folder) / CONFIG)
    file = Path(folder) / FILE
    fields = _read_fields(file) if file.exists() else {name: config[name] for name in FIELDS & config.keys()}
    source = str(file if file.exists() else Path(folder) / CONFIG)
    fields = {name: value for name, value in fields.items() if name not in ignore}
    two_sided = bool(config.get("is_encoder_decoder", config.get("model_type") == "marian"))
    faults = _refused(fields, two_sided)
    vocab = config.get("vocab_size")
    reader = _Ids(fields, vocab if type(vocab) is int else None)
    stops = reader.several("eos_token_id")
    settings = GenerationSettings(
        stop_ids=stops,
        # Theirs leaves out a forbidden word that is a stop id, but suppresses whatever it is told to.
        forbidden_ids=tuple(sorted({*reader.words("bad_words_ids")} - {*stops} | {*reader.several("suppress_tokens")})),
        start_id=reader.one("decoder_start_token_id"),
        first_id=reader.one("forced_bos_token_id"),
        last_id=reader.one("forced_eos_token_id"),
    )
    faults += reader.faults
    if faults:
        raise ValueError(f"{source} cannot be honoured (ignore=[...] sets fields aside): {'; '.join(faults)}")
    return settings


def _read_fields(file: Path) -> dict[str, Any]:
    require(file.is_file(), "folder", f"must hold {file.name}, as a regular file", str(file.parent))
    fields = read_json(file)
    if not isinstance(fields, dict):
        raise ValueError(f"{file} must be a JSON object, got {shown(fields)}")
    return fields


def _refused(fields: dict[str, Any], two_sided: bool) -> list[str]:
    # A decoder goes on with a prompt, so it has no first token of its own, and ours stops where it is told to.
    neutral = NEUTRAL if two_sided else NEUTRAL | dict.fromkeys(("forced_bos_token_id", "forced_eos_token_id"), (None,))
    faults = [
        f"{name} must be {_any_of(neutral[name])}, got {shown(found)}"
        for name, found in fields.items()
        if name in neutral and not any(_same(found, value) for value in neutral[name])
    ]
    return faults + [f"{name} is not known, got {shown(fields[name])}" for name in sorted(fields.keys() - FIELDS)]


def _any_of(values: tuple[Any, ...]) -> str:
    return " or ".join("null" if value is None else json.dumps(value) for value in values)


def _same(found: object, value: object) -> bool:
    return found == value and isinstance(found, bool) == isinstance(value, bool)


class _Ids:
    """Reads fields that hold ids of tokens, and keeps account of what is wrong."""

    def __init__(self, fields: dict[str, Any], vocab: int | None) -> None:
        self.fields, self.vocab = fields, vocab
        self.faults: list[str] = []

    def one(self, name: str) -> int | None:
        found = self._checked(name, [self.fields.get(name)])
        return found[0] if found else None

    def several(self, name: str) -> tuple[int, ...]:
        """A number or a list of them, in order."""
        found = self.fields.get(name)
        return tuple(sorted(set(self._checked(name, found if isinstance(found, list) else [found]))))

    def words(self, name: str) -> tuple[int, ...]:
        """A list of words, each of which is a list of one id."""
        found = self.fields.get(name)
        words = found if isinstance(found, list) else [] if found is None else [found]
        if not all(isinstance(word, list) and len(word) == 1 for word in words):
            self.faults.append(f"{name} must be a list of words of one token, got {shown(found)}")
            return ()
        return tuple(self._checked(name, [word[0] for word in words]))

    def _checked(self, name: str, ids: list[Any]) -> list[int]:
        if ids == [None]:
            return []
        below = "" if self.vocab is None else f" below {self.vocab}"
        if not all(type(i) is int and i >= 0 and (self.vocab is None or i < self.vocab) for i in ids):
            self.faults.append(f"{name} must be made of ids of tokens{below}, got {shown(self.fields[name])}")
            return []
        return ids
