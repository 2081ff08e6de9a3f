# The map function reads the epoch when it already knows that nothing is held.
# Caught as: I/O to
/\*epoch = dmr_hold_epoch(&hold);	/d
s/if (pass)$/*epoch = dmr_hold_epoch(\&hold);\n	if (pass)/
