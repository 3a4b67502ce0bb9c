"""``python -m rdbench``, as a debugger starts it: ``python -m pdb -m rdbench trial SPEC``."""

from rdbench.cli.app import main

if __name__ == "__main__":
    main()
