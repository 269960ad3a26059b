"""`python -m rewarddiff.cli`, as `python -m rewarddiff`."""

import sys

from rewarddiff.cli import main

if __name__ == "__main__":
    sys.exit(main())
