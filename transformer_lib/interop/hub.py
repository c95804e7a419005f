"""A model of the Hugging Face Hub as a folder on this machine: downloaded once, then read from the cache."""

from pathlib import Path

from transformer_lib.config import require
from transformer_lib.contract import checked

PATTERNS = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "model.safetensors",
    "model-*-of-*.safetensors",
    "*.safetensors.index.json",
    # what a tokenizer is made of, and the form of a chat
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja"),
    *("vocab.txt", "vocab.json", "merges.txt", "*.model", "*.spm"),
]


@checked
def find(name: str) -> Path:
    """`name` as it is if there is such a folder, else the Hub's model of that name (`openai-community/gpt2`).

    Only configuration, tokenizer and safetensors are fetched, with a progress bar. `ValueError` if the Hub does not
    give them: no such model, no right to it, or no network and nothing in the cache.
    """
    if Path(name).is_dir():
        return Path(name)
    # Imported here: a folder needs none of it.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    parts = name.split("/")
    require(len(parts) == 2 and all(parts), "name", "must be a folder, or OWNER/MODEL of the Hub", name)
    try:
        return Path(snapshot_download(name, allow_patterns=PATTERNS))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as error:
        raise ValueError(f"name must be a folder, or a model that the Hub gives, got {name!r}: {error}") from error
