"""A model of the Hugging Face Hub as a folder on this machine: downloaded once, then read from the cache."""

from pathlib import Path

from transformer_lib.config import require
from transformer_lib.contract import checked
from transformer_lib.extras import needed

# Rules of tokenizers, as each family has them.
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.txt", "vocab.json", "merges.txt", "*.spm")
_SETTINGS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja")
PATTERNS = [
    *("config.json", "generation_config.json", *_TOKENIZERS, *_SETTINGS),
    *("model.safetensors", "model-*-of-*.safetensors", "model.safetensors.index.json"),
]
PICKLED = ["pytorch_model.bin", "pytorch_model-*-of-*.bin", "pytorch_model.bin.index.json"]


@checked
def find(name: str) -> Path:
    """`name` as it is if there is such a folder, else the Hub's model of that name (`openai-community/gpt2`).

    Only configuration, tokenizer and weights are fetched, with a progress bar; as safetensors where there are any, else
    as `interop.pickled` reads them. `ValueError` if the Hub does not give them: no such model, no right to it, or no
    network and nothing in the cache.
    """
    if Path(name).is_dir():
        return Path(name)
    # Imported here: a folder needs none of it.
    with needed():
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    parts = name.split("/")
    require(len(parts) == 2 and all(parts), "name", "must be a folder, or OWNER/MODEL of the Hub", name)
    try:
        folder = Path(snapshot_download(name, allow_patterns=PATTERNS))
        if not any(folder.glob("*.safetensors")):
            folder = Path(snapshot_download(name, allow_patterns=PATTERNS + PICKLED))
        return folder
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as error:
        raise ValueError(f"name must be a folder, or a model that the Hub gives, got {name!r}: {error}") from error
