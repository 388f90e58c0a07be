"""`python -m vizwidgets_command`."""

import sys

from . import main

sys.exit(main())
