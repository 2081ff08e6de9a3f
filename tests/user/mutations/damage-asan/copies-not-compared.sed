# What a log block leaves empty beside the number of the copy may be anything in another copy.
# Caught as: good copies 0x
/^static bool same_prefix/,/^}/s/a->copies == b->copies && a->reserved0 == b->reserved0 &&//
