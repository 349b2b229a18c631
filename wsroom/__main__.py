"""`python -m wsroom`."""

from __future__ import annotations

import sys

from wsroom.cli.main import main

sys.exit(main())
