# What is opened read-only can be mended.
# Caught as: a read-only open mends
/^int dmr_metadata_mend/,/^}/s/if (md->params.read_only)/if (0)/
