# For the scripts beside it that install and remove the packages themselves: two versions of
# them, in the directories that DM_REMAP_OLD and DM_REMAP_NEW name.

ours=(dm-remap-boot dm-remap-dkms dm-remap-doc dmremapctl)

if [ ! -d "${DM_REMAP_OLD:-}" ] || [ ! -d "${DM_REMAP_NEW:-}" ]; then
    echo "DM_REMAP_OLD and DM_REMAP_NEW shall name directories with two versions of the packages"
    exit 77
fi

# Nothing asks, and nothing else comes along.
export DEBIAN_FRONTEND=noninteractive
get() { apt-get -q -y --no-install-recommends "$@"; }

# install_from DIRECTORY
install_from() {
    local package files=()
    for package in "${ours[@]}"; do files+=("$1/$package"_*.deb); done
    get install "${files[@]}"
}

# version_in DIRECTORY
version_in() { dpkg-deb -f "$1"/dm-remap-dkms_*.deb Version; }

# complain SENTENCE: the test has failed.
complain() { echo "$*" >&2; exit 1; }
