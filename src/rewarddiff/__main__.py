"""`python -m rewarddiff`: the command line."""

import sys

from rewarddiff.cli import main

if __name__ == "__main__":
    sys.exit(main())
