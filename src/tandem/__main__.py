"""`python -m tandem` is `tandem`."""

from tandem.cli.main import main

if __name__ == "__main__":
    main()
