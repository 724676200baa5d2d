"""Real sensors as their makers describe them; what a sheet leaves open is the house default or is derived, as said.

A sheet's range at 10 % reflectance is at a detection probability it rarely names; here it is where half are detected.
No sheet names the overlap or the lidar ratio (of the fog, and at these wavelengths alike): house defaults.
"""

from __future__ import annotations

import math

import numpy as np

from filters.models.optics import Optics
from fogsim.sensors.lidar import Lidar

# Velodyne VLP-16: data sheet 63-9229 Rev F, user manual 63-9243 Rev D. 16 lasers from -15 to 15 degrees, 903 nm,
# 0.2 degrees between columns at 10 Hz, 6 ns pulses, +-3 cm, 1 to 100 m; reports strongest, last or both.
# Derived: the 100 m are taken to be for a reflectance of 0.8, as on the HDL-64E's sheet, so R10 = 100 sqrt(.1/.8);
# the accuracy to be that at the threshold, where it is worst.
VLP_16 = Lidar(
    rings=16,
    lowest_deg=-15.0,
    highest_deg=15.0,
    columns=1800,
    azimuth_deg=360.0,
    optics=Optics(
        pulse=6e-9, range_10=round(100.0 * math.sqrt(0.1 / 0.8), 1), range_noise=0.03, range_limits=(1.0, 100.0)
    ),
)

# Velodyne HDL-64E S3: user's manual 63-HDL64ES3 Rev K, data sheet. 32 lasers 1/3 degree apart from 2 to -8.33 degrees,
# 32 half a degree apart from -8.83 to -24.33, 905 nm, 0.1728 degrees between columns at 10 Hz, 5 ns pulses, 2 cm
# (one sigma), 50 m at a reflectance of 0.1, 120 m at 0.8; reports strongest, last or both.
# Derived: the accuracy is taken to be that at the threshold.
HDL_64_ELEVATIONS = (*np.linspace(-24.33, -8.83, 32).round(2).tolist(), *np.linspace(-8.33, 2.0, 32).round(2).tolist())
HDL_64 = Lidar(
    rings=64,
    lowest_deg=HDL_64_ELEVATIONS[0],
    highest_deg=HDL_64_ELEVATIONS[-1],
    elevations_deg=HDL_64_ELEVATIONS,
    columns=2083,
    azimuth_deg=360.0,
    optics=Optics(pulse=5e-9, range_10=50.0, range_noise=0.02, range_limits=(0.9, 120.0)),
)

# Ouster OS1-128, first generation: data sheet "OS1 High Resolution Imaging LIDAR". 128 beams over 45 degrees, 850 nm,
# 1024 columns at 10 Hz (of 512, 1024, 2048), 0.8 to 40 m at 10 % and 120 m at 80 %, false positives 1/10,000, standard
# deviation of range 3 cm at a signal-to-noise ratio of 100; one return, the strongest. The pulse is not named.
# Derived: the threshold from the false positives, Φ⁻¹(1 - 1e-4); range_noise = .03 sqrt(100 / threshold), which gives
# 8.9 and 1.9 cm at the ratios 12 and 250 where the sheet has 10 and 1.5.
OS1_THRESHOLD = 3.72
OS1_128 = Lidar(
    rings=128,
    lowest_deg=-22.5,
    highest_deg=22.5,
    columns=1024,
    azimuth_deg=360.0,
    optics=Optics(
        range_10=40.0,
        threshold=OS1_THRESHOLD,
        range_noise=round(0.03 * math.sqrt(100.0 / OS1_THRESHOLD), 3),
        range_limits=(0.8, 120.0),
    ),
)
