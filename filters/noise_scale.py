"""How many times larger R is than the model says, from the NIS: adaptive measurement noise with anchored forgetting.

If S is wrong by a factor s, NIS / d has the mean s, and the slope of ln N(y; 0, s S) in ln s at s = 1 is
d (NIS / d - 1) / 2, its Fisher information d / 2: a natural gradient step of size g adds g (NIS / d - 1) to ln s.

    ln s' = max(0, (1 - g) ln s + g (min(NIS / d, MOST) - 1))

(1 - g) ln s forgets toward the anchor s = 1. Never below it: R too large costs little, R too small compounds, since
successive looks at one object err alike. Mehra 1972 (IEEE TAC 17:693) for estimating R from innovations.
"""

from __future__ import annotations

import numpy as np

GAIN = 0.1  # ten looks, a second of them, to learn or to forget
MOST = 4.0  # one look counts for no more than this, or a stray cluster would blind the filter


def update_log_scale(log_scale: float, nis: float, dimension: int) -> float:
    """ln s after a look, by the NIS of the class that explains it best: the noise is the sensor's, not a class's."""
    excess = min(nis / dimension, MOST) - 1.0 if np.isfinite(nis) else MOST - 1.0
    return float(max(0.0, (1.0 - GAIN) * log_scale + GAIN * excess))
