"""Our models in other libraries' formats, and theirs in ours.

Each module needs an extra of its own, so nothing is imported here: `from transformer_lib.interop.huggingface import
from_hf`.
"""
