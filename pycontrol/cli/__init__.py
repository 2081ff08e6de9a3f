"""The command ``dmremapctl``: one file for each group of commands."""
