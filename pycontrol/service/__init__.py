"""What the commands do, for programs: no printing, no prompting, typed results."""
