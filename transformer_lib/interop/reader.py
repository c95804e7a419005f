"""A `config.json` of Hugging Face's, read field by field, with nothing passed over in silence."""

import sys
from typing import Any

from transformer_lib.checks import require, require_kind, shown
from transformer_lib.config import Activation, Glu, Mlp, ModelConfig
from transformer_lib.contract import checked
from transformer_lib.interop.generation_config import FIELDS as GENERATION

Fields = dict[str, Any]
FLOAT_MAX = sys.float_info.max

ACTIVATIONS: dict[str, Activation] = {
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu": "gelu",
    "gelu_python": "gelu",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}
# What a trained model computes does not depend on these, each line for its reason.
ASIDE = {
    "it says where the file comes from, and what is in it": (
        *("_name_or_path", "name_or_path", "name", "language", "architectures", "model_type", "finetuning_task"),
        *("transformers_version", "transformers.js_config", "unsloth_version", "unsloth_fixed", "is_llama_config"),
        *("dtype", "torch_dtype", "base_model_prefix", "tokenizer_class", "vocab_size_or_config_json_file"),
    ),
    "it is about training": (
        *("initializer_factor", "initializer_range", "init_std", "gradient_checkpointing", "neftune_noise_alpha"),
        *("encoder_layerdrop", "decoder_layerdrop", "problem_type", "tf_legacy_loss", "sinusoidal_pos_embds"),
        *("classifier_dropout", "classif_dropout", "qa_dropout", "seq_classif_dropout", "directionality"),
    ),
    "it says how the numbers are computed, or in what they are wrapped, not which they are": (
        *("pretraining_tp", "chunk_size_feed_forward", "torchscript", "use_bfloat16", "xla_device", "output_past"),
        *("attn_implementation", "_attn_implementation", "_attn_implementation_autoset", "_flash_attn_2_enabled"),
        *("return_dict", "use_return_dict"),
    ),
    "it names the labels of a classifier, which `labels_of` reads": ("id2label", "label2id", "num_labels"),
    "their models pass over it": (
        *("pooler_type", "pooler_fc_size", "pooler_num_fc_layers", "pooler_size_per_head", "_num_labels"),
        *("pooler_num_attention_heads", "n_special", "predict_special_tokens", "extra_pos_embeddings"),
        *("tie_weights_", "max_sequence_length", "model_max_length"),
    ),
    "it is for a head that is not read": (
        *("summary_type", "summary_use_proj", "summary_activation", "summary_proj_to_labels"),
        "summary_first_dropout",
    ),
    "it is about writing or about tokens, for others to account for": (
        *GENERATION,
        *("eos_token_ids", "sep_token_id", "cls_token_id", "mask_token_id", "unk_token_id", "prefix"),
        "task_specific_params",
    ),
    "it is said again, under another name, where it is not read": ("num_hidden_layers", "n_ctx"),
}
HARMLESS = frozenset(name for names in ASIDE.values() for name in names)
# What would change the numbers, but for this value; null stands for it, too.
NEUTRAL: Fields = {
    **dict.fromkeys(("is_encoder_decoder", "is_decoder", "add_cross_attention", "tie_encoder_decoder"), False),
    **dict.fromkeys(("rope_interleaved", "use_mrope", "force_bos_token_to_be_generated"), False),
    "cross_attention_hidden_size": None,
    "partial_rotary_factor": 1.0,
    "pruned_heads": {},
}


@checked
def as_float(name: str, value: Any) -> float:
    """`ValueError` unless the value is a finite number."""
    require(type(value) in (int, float), name, "must be a number", value)
    require(-FLOAT_MAX <= value <= FLOAT_MAX, name, "must be a finite number", value)
    return float(value)


@checked
class Reader:
    """Reads the fields of a `config.json` one by one, and keeps account of what is wrong and what is left."""

    def __init__(self, fields: Fields, dropout: float | None) -> None:
        self._fields, self._dropout = fields, dropout
        self._used: set[str] = set()
        self._faults: list[str] = []

    def get(self, name: str, default: Any = None) -> Any:
        """The field's value, which may be None, or the default where it is absent."""
        self._used.add(name)
        return self._fields.get(name, default)

    def take(self, name: str, default: Any = None) -> Any:
        """The field's value; without a default it has to be there, and not None."""
        value = self.get(name, default)
        if value is None:
            self._faults.append(f"{name} must be given")
        return value

    def number(self, name: str, default: float) -> float:
        """A number, which JSON may have as a whole one."""
        return as_float(name, self.get(name, default))

    def flag(self, name: str, default: bool) -> bool:
        """A field that is true or false."""
        value = self.get(name, default)
        if not isinstance(value, bool):
            self._faults.append(f"{name} must be true or false, got {shown(value)}")
        return bool(value)

    def expect(self, **values: Any) -> None:
        """Each field, where there, must have this value."""
        for name, value in values.items():
            require_kind(value, (bool, int, float, str, type(None)), name, "a value of JSON")
            self._expect(name, value)

    def _expect(self, name: str, value: Any) -> None:
        found = self.get(name, value)
        if found != value:
            self._faults.append(f"{name} must be {value!r}, got {shown(found)}")

    def choose(self, name: str, default: str) -> Activation:
        """An activation of ours for theirs."""
        found = self.get(name, default)
        if not isinstance(found, str) or found not in ACTIVATIONS:
            self._faults.append(f"{name} must be one of {sorted(ACTIVATIONS)}, got {shown(found)}")
            return "gelu"
        return ACTIVATIONS[found]

    def dropout(self, **defaults: float) -> float:
        """Our one dropout: what the caller said, or else the first of theirs, which may differ from place to place."""
        found = [self.number(name, default) for name, default in defaults.items()]
        return found[0] if self._dropout is None else self._dropout

    def fault(self, text: str) -> None:
        """Something that is wrong."""
        self._faults.append(text)

    def finish(self) -> None:
        """`ValueError` listing all that was wrong, or left and not harmless."""
        left = self._fields.keys() - self._used - HARMLESS
        for name in sorted(left & NEUTRAL.keys()):
            if self._fields[name] is not None:
                self._expect(name, NEUTRAL[name])
        left -= NEUTRAL.keys()
        self._faults += [f"{name} is not honoured, got {shown(self._fields[name])}" for name in sorted(left)]
        self.check()

    def check(self) -> None:
        """`ValueError` listing all that was wrong so far."""
        if self._faults:
            raise ValueError("config.json cannot be honoured: " + "; ".join(self._faults))


@checked
def activation_of(config: ModelConfig, default: str) -> str:
    """Their name for the activation of ours."""
    wanted = config.feedforward.activation if isinstance(config.feedforward, Mlp | Glu) else None
    return next((theirs for theirs, ours in ACTIVATIONS.items() if ours == wanted), default)
