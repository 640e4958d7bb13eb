"""`python -m copgkit` is `copgkit`."""

from copgkit.cli import main

if __name__ == "__main__":
    main()
