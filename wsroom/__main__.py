"""`python -m wsroom`."""

from __future__ import annotations

import sys

from wsroom.cli import main

sys.exit(main())
