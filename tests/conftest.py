"""Settings shared by all tests: hypothesis searches the same examples each time, and torch keeps to one thread.

No test depends on how fast or how busy the machine is: hypothesis has no deadline, and does not mind its own pace.
"""

import os

import torch
from hypothesis import HealthCheck, settings

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("default", PATIENT, derandomize=True, max_examples=25)
settings.register_profile("nightly", PATIENT, max_examples=200)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

torch.set_num_threads(1)
