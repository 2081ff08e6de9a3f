"""Moving: to another spare, to another disk, or back to the bare one."""
