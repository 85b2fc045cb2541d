"""The command `python -m compare.extractor`."""

from compare.quality.extractor import main

if __name__ == "__main__":
    main()
