"""Small models of Hugging Face's with random weights: every family, and every field of theirs that we honour."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers as hf
from torch import Tensor, nn

from tests.interop.wide import Float64
from tests.oracles import integers, normal, randomise

TRAINED = 16  # the length after which scaled positions differ
LENGTH = 40
TOKENS = integers(13, 3, 9)
LONG = integers(13, 1, LENGTH, seed=1)
VALID = torch.arange(9) < torch.tensor([[9], [4], [1]])


class Case(NamedTuple):
    """One architecture of theirs and its settings."""

    architecture: str
    settings: dict[str, Any]

    @property
    def is_decoder(self) -> bool:
        return self.architecture.endswith(("LMHeadModel", "ForCausalLM"))

    @property
    def written(self) -> dict[str, Any]:
        """How `to_hf` is told to write it again."""
        kind = getattr(hf, self.architecture).config_class.model_type
        ids = {"pad_token_id": self.settings.get("pad_token_id", 1)} if "roberta" in kind else {}
        if kind == "marian":
            ids = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
        return {"model_type": kind, "token_ids": ids}

    def build(self, dtype: torch.dtype) -> Any:
        """The model; in float64 to be called within `Float64`, or its norms and angles are rounded."""
        kind = getattr(hf, self.architecture)
        with torch.no_grad(), Float64() if dtype is torch.float64 else nullcontext():
            torch.manual_seed(0)
            config = kind.config_class.from_dict(self.settings)
            config._experts_implementation = "eager"  # the other way knows no float64
            model = randomise(kind(config), dtype=dtype)
            for name, buffer in model.named_buffers():
                if name.endswith("e_score_correction_bias"):  # no parameter, and 0 before training
                    buffer.copy_(0.3 * normal(*buffer.shape))
            if self.architecture == "MarianMTModel":
                config, width = model.config, model.config.d_model
                model.final_logits_bias.copy_(torch.linspace(-1, 1, config.vocab_size)[None])
                channels = torch.arange(0, width, 2) / width
                angles = torch.arange(config.max_position_embeddings)[:, None] / 10_000**channels
                for side in (model.model.encoder, model.model.decoder):
                    side.embed_positions.weight.copy_(torch.cat([angles.sin(), angles.cos()], dim=1))
        return model

    def save(self, folder: Path, *, dtype: torch.dtype = torch.float64, **options: Any) -> Any:
        model = self.build(dtype)
        model.save_pretrained(folder, **options)
        return model

    @property
    def drop(self) -> tuple[str, ...]:
        return ("bert.pooler.*",) if self.architecture == "BertModel" else ()


ROPE: dict[str, Any] = {
    "vocab_size": 13,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-4,
}


def _llama(**rope: Any) -> Case:
    fields = {"rope_theta": 500.0, "rope_type": "default"} | rope
    return Case("LlamaForCausalLM", ROPE | {"head_dim": 8, "rope_parameters": fields})


_GPT2 = {"vocab_size": 13, "n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 64}
_BERT = {
    "vocab_size": 13,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
_DISTILBERT = {
    "vocab_size": 13,
    "dim": 16,
    "hidden_dim": 24,
    "n_layers": 2,
    "n_heads": 4,
    "max_position_embeddings": 64,
}
_ROBERTA = _BERT | {"max_position_embeddings": 66, "type_vocab_size": 1, "layer_norm_eps": 1e-5}
_LABELS = {"id2label": {"0": "bad", "1": "so so", "2": "good"}, "label2id": {"bad": 0, "so so": 1, "good": 2}}
_MARIAN = {
    "vocab_size": 13,
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 1,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 20,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "decoder_start_token_id": 0,
    "forced_eos_token_id": None,
}
_OLD = {"original_max_position_embeddings": TRAINED, "factor": 4.0}
_FULL, _SLIDING = "full_attention", "sliding_attention"
_SPECIAL = {"pad_token_id": None, "bos_token_id": None, "eos_token_id": None}
_GEMMA = (
    ROPE
    | _SPECIAL
    | {
        **{"head_dim": 6, "num_hidden_layers": 3, "sliding_window": 3, "query_pre_attn_scalar": 6},
        "layer_types": [_SLIDING, _SLIDING, _FULL],
        "rope_parameters": {
            _FULL: {"rope_theta": 900.0, "rope_type": "default"},
            _SLIDING: {"rope_theta": 50.0, "rope_type": "default"},
        },
    }
)
_FEW = {"head_dim": 6, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8}
_DEEPSEEK = (
    {name: value for name, value in ROPE.items() if name not in ("num_key_value_heads", "rms_norm_eps")}
    | _SPECIAL
    | {
        **{"num_hidden_layers": 3, "first_k_dense_replace": 1, "n_routed_experts": 8, "n_group": 2, "topk_group": 1},
        **{"num_experts_per_tok": 2, "moe_intermediate_size": 8, "num_key_value_heads": 4, "q_lora_rank": 6},
        **{"kv_lora_rank": 10, "qk_rope_head_dim": 4, "qk_nope_head_dim": 6, "v_head_dim": 5},
    }
)
_NEXT = (
    ROPE
    | _FEW
    | {
        **{"head_dim": 16, "num_hidden_layers": 4, "shared_expert_intermediate_size": 5, "linear_num_key_heads": 2},
        **{"linear_num_value_heads": 4, "linear_key_head_dim": 4, "linear_value_head_dim": 6},
    }
)
_MODERN = _SPECIAL | {
    **{"vocab_size": 13, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 4},
    **{"num_attention_heads": 4, "max_position_embeddings": 64, "local_attention": 4},
    **{"cls_token_id": None, "sep_token_id": None, "global_attn_every_n_layers": 3},
}
CASES = {
    "gpt2": Case("GPT2LMHeadModel", _GPT2),
    "gpt2 relu untied": Case(
        "GPT2LMHeadModel",
        _GPT2 | {"n_inner": 20, "activation_function": "relu", "tie_word_embeddings": False, "resid_pdrop": 0.1},
    ),
    "llama": _llama(),
    "llama biases tied": Case(
        "LlamaForCausalLM", ROPE | {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}
    ),
    "llama linear": _llama(rope_type="linear", factor=3.0),
    "llama dynamic": Case(
        "LlamaForCausalLM",
        ROPE
        | {
            "head_dim": 8,
            "max_position_embeddings": TRAINED,
            "rope_parameters": {"rope_theta": 500.0, "rope_type": "dynamic", "factor": 2.0},
        },
    ),
    "llama yarn": _llama(rope_type="yarn", **_OLD),
    "llama yarn set": _llama(rope_type="yarn", beta_fast=4, beta_slow=2, attention_factor=1.3, truncate=False, **_OLD),
    "llama yarn deepseek": _llama(rope_type="yarn", mscale=0.7, mscale_all_dim=1.0, **_OLD),
    "llama llama3": _llama(rope_type="llama3", low_freq_factor=1.0, high_freq_factor=4.0, **_OLD),
    "mistral": Case("MistralForCausalLM", ROPE | {"sliding_window": 3}),
    "mistral full": Case("MistralForCausalLM", ROPE | {"sliding_window": None}),
    "qwen3": Case("Qwen3ForCausalLM", ROPE | {"head_dim": 6, "tie_word_embeddings": True}),
    "qwen3 window biases": Case(
        "Qwen3ForCausalLM",
        ROPE
        | {
            "head_dim": 6,
            "attention_bias": True,
            "use_sliding_window": True,
            "sliding_window": 5,
            "max_window_layers": 0,
        },
    ),
    "qwen2": Case("Qwen2ForCausalLM", ROPE | {"head_dim": 6}),
    "gemma3": Case("Gemma3ForCausalLM", _GEMMA),
    "gemma3 cap": Case(
        "Gemma3ForCausalLM",
        _GEMMA
        | {
            **{"final_logit_softcapping": 5.0, "query_pre_attn_scalar": 7},
            "layer_types": [_FULL, _SLIDING, _FULL],
            "rope_parameters": {
                _FULL: {"rope_theta": 900.0, "rope_type": "linear", "factor": 2.0},
                _SLIDING: {"rope_theta": 50.0, "rope_type": "default"},
            },
        },
    ),
    "olmo2": Case("Olmo2ForCausalLM", ROPE),
    "olmo2 biases": Case("Olmo2ForCausalLM", ROPE | {"attention_bias": True, "tie_word_embeddings": True}),
    "smollm3": Case("SmolLM3ForCausalLM", ROPE | _SPECIAL | {"num_hidden_layers": 5, "no_rope_layer_interval": 2}),
    "smollm3 window": Case(
        "SmolLM3ForCausalLM",
        ROPE
        | _SPECIAL
        | {
            **{"num_hidden_layers": 3, "no_rope_layers": [0, 1, 1], "layer_types": [_FULL, _SLIDING, _FULL]},
            **{"use_sliding_window": True, "sliding_window": 3, "attention_bias": True, "mlp_bias": True},
        },
    ),
    "mixtral": Case("MixtralForCausalLM", ROPE | {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "mixtral window": Case("MixtralForCausalLM", ROPE | {"num_local_experts": 3, "sliding_window": 3}),
    "qwen3_moe": Case("Qwen3MoeForCausalLM", ROPE | _FEW | {"norm_topk_prob": True}),
    "qwen3_moe dense": Case(
        "Qwen3MoeForCausalLM",
        ROPE | _FEW | {"num_hidden_layers": 4, "decoder_sparse_step": 2, "mlp_only_layers": [3]},
    ),
    "qwen3_moe window": Case("Qwen3MoeForCausalLM", ROPE | _FEW | {"use_sliding_window": True, "sliding_window": 3}),
    "gpt_oss": Case(
        "GptOssForCausalLM",
        ROPE
        | {
            **{"head_dim": 8, "num_hidden_layers": 4, "sliding_window": 3, "num_local_experts": 4},
            **{"num_experts_per_tok": 2, "pad_token_id": None, "swiglu_limit": 1.5},
            "rope_parameters": {"rope_theta": 500.0, "rope_type": "yarn", "truncate": False, **_OLD},
        },
    ),
    "deepseek_v3": Case("DeepseekV3ForCausalLM", _DEEPSEEK),
    "deepseek_v3 yarn biases": Case(
        "DeepseekV3ForCausalLM",
        _DEEPSEEK
        | {
            **{"attention_bias": True, "rope_interleave": False, "norm_topk_prob": False, "n_shared_experts": 2},
            "rope_parameters": {
                **{"rope_theta": 500.0, "rope_type": "yarn", "mscale": 1.0, "mscale_all_dim": 0.7},
                **_OLD,
            },
        },
    ),
    "deepseek_v3 queries of the stream": Case(
        "DeepseekV3ForCausalLM", _DEEPSEEK | {"q_lora_rank": None, "attention_bias": True}
    ),
    "qwen3_next": Case("Qwen3NextForCausalLM", _NEXT),
    "qwen3_next dense": Case(
        "Qwen3NextForCausalLM",
        _NEXT | {"layer_types": [_FULL, "linear_attention", _FULL], "num_hidden_layers": 3, "mlp_only_layers": [1]},
    ),
    "modernbert": Case("ModernBertModel", _MODERN),
    "modernbert masked": Case(
        "ModernBertForMaskedLM",
        _MODERN | {"norm_bias": True, "classifier_bias": True, "attention_bias": True, "mlp_bias": True},
    ),
    "bert": Case("BertModel", _BERT),
    "bert masked": Case("BertForMaskedLM", _BERT | {"type_vocab_size": 3}),
    "bert labels": Case("BertForSequenceClassification", _BERT | _LABELS | {"hidden_act": "relu"}),
    "bert tags": Case("BertForTokenClassification", _BERT | _LABELS),
    "bert span": Case("BertForQuestionAnswering", _BERT),
    "roberta masked": Case("RobertaForMaskedLM", _ROBERTA | {"hidden_act": "gelu_new"}),
    "roberta labels": Case(
        "RobertaForSequenceClassification", _ROBERTA | _LABELS | {"pad_token_id": 3, "max_position_embeddings": 68}
    ),
    "xlm-roberta tags": Case("XLMRobertaForTokenClassification", _ROBERTA | _LABELS),
    "distilbert masked": Case("DistilBertForMaskedLM", _DISTILBERT),
    "distilbert labels": Case("DistilBertForSequenceClassification", _DISTILBERT | _LABELS),
    "marian": Case("MarianMTModel", _MARIAN),
    "marian relu scaled": Case("MarianMTModel", _MARIAN | {"activation_function": "relu", "scale_embedding": True}),
}
DECODERS = [name for name, case in CASES.items() if case.is_decoder]


def their_output(model: nn.Module, tokens: Tensor, valid: Tensor | None = None, **options: Any) -> Tensor:
    """Logits, or a bare encoder's vectors; positions count the real tokens, as ours do."""
    name, mask = type(model).__name__, None if valid is None else valid.long()
    decoder = "Causal" in name or "LMHead" in name
    if (decoder and valid is not None) or "Roberta" in name:  # where a token of ours may have the padding token's id
        real = torch.ones_like(tokens, dtype=torch.bool) if valid is None else valid
        first = model.config.pad_token_id + 1 if "Roberta" in name else 0
        options.setdefault("position_ids", (real.cumsum(1) - 1).clamp(min=0) + first)
    if getattr(model.config, "type_vocab_size", 1) > 1:
        options["token_type_ids"] = tokens % 2
    if decoder or "Marian" in name:
        options["use_cache"] = False
    if "Marian" in name:
        options["decoder_input_ids"] = tokens.flip(1)
    with torch.no_grad(), Float64() if model.dtype is torch.float64 else nullcontext():
        output = model(tokens, attention_mask=mask, **options)
    if "start_logits" in output:
        return torch.stack([output.start_logits, output.end_logits], dim=-1)
    return output.logits if "logits" in output else output.last_hidden_state


def our_output(model: nn.Module, tokens: Tensor, valid: Tensor | None = None) -> Tensor:
    with torch.no_grad():
        match type(model).__name__:
            case "DecoderLM":
                return model(tokens, valid=valid)
            case "Seq2Seq":
                return model(tokens, tokens.flip(1), source_valid=valid)
            case _:
                segments = tokens % 2 if model.config.segments > 1 else None
                found = model(tokens, valid=valid, segments=segments)
                return torch.stack(found, dim=-1) if isinstance(found, tuple) else found
