# What sticks out behind a change forgets how far into the extent it begins.
# Caught as: differs from the model|spare \d+, not
s/entry_spare(e) + (from - e_start)/entry_spare(e)/
