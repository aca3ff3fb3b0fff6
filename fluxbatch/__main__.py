"""`python -m fluxbatch`: the same as `fluxbatch`."""

import sys

from fluxbatch.cli import main

if __name__ == "__main__":
    sys.exit(main())
