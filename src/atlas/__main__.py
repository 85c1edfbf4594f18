"""`python -m atlas` is the command line."""

from .interfaces.cli.main import main

if __name__ == "__main__":
    main()
