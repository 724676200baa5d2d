"""The kernels' normal law against SciPy's."""

import numpy as np
import pytest
from scipy.special import ndtr

from filters.models.normal import TABLED, cdf


def test_the_tabled_law_is_scipys():
    """Between nodes, at both ends of the table and beyond them."""
    x = np.concatenate([np.linspace(-9.0, 9.0, 5001), [-TABLED, TABLED, np.nextafter(-TABLED, 0.0), -30.0]])
    np.testing.assert_allclose([cdf(v) for v in x], ndtr(x), rtol=2e-10)


@pytest.mark.parametrize(("x", "exact"), [(np.inf, 1.0), (-np.inf, 0.0), (np.nan, np.nan)])
def test_no_number_too_large(x, exact):
    assert cdf(x) == pytest.approx(exact, nan_ok=True)
