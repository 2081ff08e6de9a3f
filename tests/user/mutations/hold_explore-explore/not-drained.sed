# The worker does not wait for bios in flight.
# Caught as: I/O to
s/while (inflight(h, old))/while (0)/
