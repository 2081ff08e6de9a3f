# Without memory to sort the places they count as taken.
# Caught as: sectors in use|a place in use is free
/^static int take_places/,/^}/s/int error = -ENOMEM/int error = 0/
