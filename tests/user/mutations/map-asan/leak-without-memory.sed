# Half of a reservation that failed is never given back.
# Caught as: LeakSanitizer
/if (!a || !b) {/,/}/s/kvfree(a);//
