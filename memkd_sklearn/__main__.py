"""``python -m memkd_sklearn``."""

import sys

from memkd_sklearn.cli import main

sys.exit(main())
