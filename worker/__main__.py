"""`python -m worker` is `headgate`."""

from worker.cli import main

if __name__ == "__main__":
    main()
