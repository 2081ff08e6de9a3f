# Changes that could not be sorted are taken for sorted.
# Caught as: AddressSanitizer|runtime error
s/if (order && !disjoint/if (!disjoint/
