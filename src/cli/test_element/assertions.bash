# What test cases of elements say about an image. The runner sources this before their scripts; IMAGE names the image.
# Each function ends the script with a message where it is not so.

fail() {
    echo "line ${BASH_LINENO[1]}: $*" >&2
    exit 1
}

skip() {
    echo "$*"
    exit 77
}

# There are files of these names, or patterns.
has() {
    dib-assert has "$IMAGE" "$@" || fail "has $*"
}

# There are none.
lacks() {
    dib-assert lacks "$IMAGE" "$@" || fail "lacks $*"
}

# A file has this mode and, if they are given, these owners: is /etc/x 0644 0:0
is() {
    dib-assert is "$IMAGE" "$@" || fail "is $*"
}

# A file is a link that leads there: links /etc/x ../y
links() {
    dib-assert links "$IMAGE" "$@" || fail "links $*"
}

# The image's package manager has installed these.
packaged() {
    dib-assert packaged "$IMAGE" "$@" || fail "packaged $*"
}

# A line of a file fits an extended regular expression.
says() {
    dib cat "$IMAGE" "$1" | grep -Ea -e "$2" >/dev/null || fail "$1 does not say '$2'"
}

# No line of a file does.
silent() {
    local text
    text=$(dib cat "$IMAGE" "$1" | tr -d '\0') || fail "$1 cannot be read"
    ! grep -Ea -e "$2" <<<"$text" || fail "$1 says '$2'"
}

# A line of the build's log does.
logged() {
    grep -Ea -e "$1" "$LOG" >/dev/null || fail "the log of the build does not say '$1'"
}

# The host has these programs; else the case is skipped.
programs() {
    local name
    for name in "$@"; do
        type -P "$name" >/dev/null || skip "no $name"
    done
}

# A URL can be fetched; else the case is skipped.
reachable() {
    cache-url "$1" "$PWD/.reachable" >/dev/null 2>&1 || skip "$1 is out of reach"
}

# The archive of Debian that debian-minimal would take can be reached; else the case is skipped.
debian_archive() {
    local url=${DIB_DISTRIBUTION_MIRROR:-} format
    if [ -z "$url" ]; then
        # shellcheck disable=SC2016 # the words are apt's, not the shell's
        format='$(RELEASE) $(REPO_URI)'
        url=$(apt-get indextargets --format "$format" 'Created-By: Packages' 2>/dev/null |
            awk '$1 !~ /-/ { print $2; exit }') || url=
    fi
    [ -n "$url" ] || skip "no archive of Debian is known: DIB_DISTRIBUTION_MIRROR names one"
    reachable "${url%/}/dists/${DIB_RELEASE:-stable}/Release"
}
