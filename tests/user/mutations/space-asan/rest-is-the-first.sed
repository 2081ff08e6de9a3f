# Of a range with gaps only the first free part is taken.
# Caught as: should be free|not as it should be|not \d+ at
/^int dmr_space_take_rest/,/^}/s/at += n;/break;/
