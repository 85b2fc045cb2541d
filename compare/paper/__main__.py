"""The command `python -m compare.paper`."""

from compare.paper.build import main

if __name__ == "__main__":
    main()
