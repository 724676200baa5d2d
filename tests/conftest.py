"""Before numpy: fogsim pins BLAS to one thread, which numpy reads as it is loaded."""

import fogsim  # noqa: F401
