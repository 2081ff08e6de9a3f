"""``python -m pycontrol`` is ``dmremapctl``."""

from pycontrol.cli.main import main

if __name__ == "__main__":
    main()
