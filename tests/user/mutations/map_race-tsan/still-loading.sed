# The map does not take note that there are readers.
# Caught as: data race|heap-use-after-free
/^void dmr_map_loaded/,/^}/s/map->loading = false;//
