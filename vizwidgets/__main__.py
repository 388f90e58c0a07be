"""`python -m vizwidgets`: the same as the command `vizwidgets`, where that is not on the path."""

import sys

from vizwidgets_command import main

sys.exit(main())
