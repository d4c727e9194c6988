"""`python -m nasdepth`, and with it `torchrun -m nasdepth`."""

from nasdepth.cli import main

if __name__ == "__main__":
    main()
