"""`python -m clipworks` is the command `clipworks`."""

from clipworks.cli import main

if __name__ == "__main__":
    main()
