"""What every test shares: the hypothesis profile. No fixtures with behaviour; a room's fixtures live beside its tests."""

import os

from hypothesis import HealthCheck, settings

# The machine that runs the tests may be noisy, so a slow example is no failure; `thorough` is for a machine left alone.
settings.register_profile("default", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.register_profile("thorough", parent=settings.get_profile("default"), max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))
