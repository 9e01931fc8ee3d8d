"""`python -m seqgan_kit.cli`, which torchrun needs."""

import os
import sys

if sys.path[:1] == [os.getcwd()]:  # Python puts it there; what happens to lie in a folder is not what is installed
    del sys.path[0]

from seqgan_kit.cli import main

if __name__ == "__main__":
    sys.exit(main())
