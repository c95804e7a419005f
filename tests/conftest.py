"""Settings shared by all tests: hypothesis searches the same examples each time, and torch keeps to one thread.

No test depends on how fast or how busy the machine is: hypothesis has no deadline, and does not mind its own pace.
"""

import importlib.util
import os

from hypothesis import HealthCheck, settings

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("default", PATIENT, derandomize=True, max_examples=25)
settings.register_profile("nightly", PATIENT, max_examples=200)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

if importlib.util.find_spec("torch"):  # `make light` has none
    import torch

    torch.set_num_threads(1)
