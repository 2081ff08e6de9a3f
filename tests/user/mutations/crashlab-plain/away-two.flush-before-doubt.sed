# The flush that fails hides that the commit before it is in doubt.
# Caught as: a commit in doubt is said to be none
/^int dmr_metadata_commit/,/^}/s/if (md->ahead ||/if (dmr_md_flush_data(md))\n\t\treturn -EREMOTEIO;\n\t&/
