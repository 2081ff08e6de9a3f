# Shared by the scripts beside it: where things are, and how a result gets into the cache.
#
# Everything that is built or fetched lives under one cache directory, each result in a
# directory named after a hash of what it was made from.  Nothing is written into the tree.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=${DM_REMAP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/dm-remap}
KERNEL=${DM_REMAP_KERNEL:-6.1} # See ci/kernel.
mkdir -p "$CACHE"

# The tests in a machine, less those that choose their kernels themselves.
VM_TESTS=(tests/vm)
for file in build alarms fault_injection random_ioctls instructions root dracut; do VM_TESTS+=("--ignore=tests/vm/test_$file.py"); done

# A machine keeps one processor busy.  The tests of a file share one, so they stay together, in
# the order that tests/conftest.py gives them.
processors=$(nproc)
PARALLEL=(-n $((processors > 4 ? 4 : processors)) --dist loadfile --no-loadscope-reorder)

# For mmdebstrap: Debian 13 with its backports, which are taken only where asked for.
BACKPORTS=(
    # A mirror may lag behind.
    --aptopt='Acquire::Check-Valid-Until "false"'
    --setup-hook='cd "$1/etc/apt"
        sed -n "s/ trixie / trixie-backports /p" sources.list >sources.list.d/backports.list'
)

say() { printf '\033[1m== %s\033[0m\n' "$*" >&2; }

# hash_of WORD...: sixteen hex digits that stand for those words.
hash_of() { printf '%s\n' "$@" | sha256sum | cut -c1-16; }

# depends FILE: what its Depends fields name, less our own packages and their variables.
depends() { sed -n 's/^Depends: *//p' "$1" | tr ',' '\n' | grep -Ev '\b(dmremapctl|dm-remap-[a-z]+)\b'; }

# cached DIR FUNCTION: make DIR with FUNCTION unless it is there already.  FUNCTION fills a
# directory given as $1, which gets its final name only when complete; a lock keeps two
# runs from doing the same work twice.
cached() {
    local dir=$1 make=$2 tmp=$1.tmp
    [ -e "$dir" ] && return
    (
        flock 9
        [ -e "$dir" ] && exit
        rm -rf "$tmp"
        mkdir -p "$tmp"
        # Nothing but the path a script promises may reach its standard output.  In a
        # subshell of its own, and not before a "||", where "set -e" would be ignored.
        set +e
        (set -e; "$make" "$tmp") >"$tmp.log" 2>&1 9>&-
        made=$?
        set -e
        if [ $made -ne 0 ]; then
            cat "$tmp.log" >&2
            say "could not make $dir"
            exit 1
        fi
        mv "$tmp" "$dir"
    ) 9>"$dir.lock"
}
