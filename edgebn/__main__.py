"""Makes `python -m edgebn` the command `edgebn`."""

from edgebn.cli import main

if __name__ == "__main__":
    main(prog_name="edgebn")
