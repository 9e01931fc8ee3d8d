"""`python -m seqgan_kit.cli`, which torchrun needs."""

import sys

from seqgan_kit.cli import main

if __name__ == "__main__":
    sys.exit(main())
