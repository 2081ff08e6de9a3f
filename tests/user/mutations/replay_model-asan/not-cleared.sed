# What was packed before an overlap is found stays in the map.
# Caught as: was not taken, but
/^int dmr_map_fill/,/^}/{
	/if (start < end) {/{n;d}
}
