"""How long hostile tests try: ``MEMKD_ROUNDS=100 pytest tests/hostile`` tries a hundred times as long."""

import os

ROUNDS = int(os.environ.get("MEMKD_ROUNDS", "1"))
