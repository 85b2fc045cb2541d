"""The command `python -m compare.parity`."""

from compare.parity.ladder import main

if __name__ == "__main__":
    main()
