# The third segment of the log behind the slots is used from its seventeenth block on.
# Caught as: is elsewhere
/^unsigned int dmr_md_log_segment/,/^}/s/((1u << (i - 1)) - 1)/(i - 1)/
