"""Settings shared by all tests: hypothesis searches the same examples each time, and torch keeps to one thread."""

import importlib.util
import os

from hypothesis import settings

settings.register_profile("default", deadline=None, derandomize=True, max_examples=25)
settings.register_profile("nightly", deadline=None, max_examples=200)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

if importlib.util.find_spec("torch"):  # `make light` has none
    import torch

    torch.set_num_threads(1)
