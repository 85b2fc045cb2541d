"""The command `python -m compare.pretrained`."""

from compare.quality.pretrained import main

if __name__ == "__main__":
    main()
