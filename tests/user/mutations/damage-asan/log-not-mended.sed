# A mend leaves the log as it is.
# Caught as: copies mended|good copies
s/(md->good & bit ? 0 : WRITE_LOG)/0/
