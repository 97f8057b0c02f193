export DISTRO_NAME=debian
export DIB_RELEASE=${DIB_RELEASE:-stable}
export DIB_INIT_SYSTEM=systemd
export EFI_BOOT_DIR=EFI/debian
export DIB_DEBIAN_COMPONENTS=${DIB_DEBIAN_COMPONENTS:-main}

# The archive of a Debian host suits its image too: `deb` lines of apt's own sources, as "SUITE URI". In the chroot phases
# those are the image's, which root.d wrote from the same answer.
_debian_archives() {
    [ "$(sed -n 's/^ID=//p' /etc/os-release 2>/dev/null)" = debian ] || return 0
    command -v apt-get >/dev/null || return 0
    # shellcheck disable=SC2016 # the words are apt's, not the shell's
    apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
        grep -E ' (https?|file)://?' || true
}
if [ -z "${DIB_DISTRIBUTION_MIRROR:-}" ] || [ -z "${DIB_DEBIAN_SECURITY_MIRROR+set}" ]; then
    _debian_found=$(_debian_archives)
    DIB_DISTRIBUTION_MIRROR=${DIB_DISTRIBUTION_MIRROR:-$(awk '$1 !~ /-/ { print $2; exit }' <<<"$_debian_found")}
    DIB_DEBIAN_SECURITY_MIRROR=${DIB_DEBIAN_SECURITY_MIRROR-$(awk '$1 ~ /-security$/ { print $2; exit }' <<<"$_debian_found")}
    unset _debian_found
fi
unset -f _debian_archives
export DIB_DISTRIBUTION_MIRROR=${DIB_DISTRIBUTION_MIRROR%/}
export DIB_DEBIAN_SECURITY_MIRROR=${DIB_DEBIAN_SECURITY_MIRROR%/}
# As a suffix of the release or as a whole suite.
case ${DIB_DEBIAN_SECURITY_SUBPATH:=-security} in
[-/]*) _debian_security=$DIB_RELEASE$DIB_DEBIAN_SECURITY_SUBPATH ;;
*) _debian_security=$DIB_DEBIAN_SECURITY_SUBPATH ;;
esac
export DIB_DEBIAN_SECURITY_SUBPATH

# One `name:line` a repository. The unstable suite is its own update.
if [ -z "${DIB_APT_SOURCES_CONF:-}" ] && [ -n "$DIB_DISTRIBUTION_MIRROR" ]; then
    _debian_components=${DIB_DEBIAN_COMPONENTS//,/ }
    DIB_APT_SOURCES_CONF="default:deb $DIB_DISTRIBUTION_MIRROR $DIB_RELEASE $_debian_components"
    case $DIB_RELEASE in
    unstable | sid) ;;
    *)
        DIB_APT_SOURCES_CONF+=$'\n'"updates:deb $DIB_DISTRIBUTION_MIRROR $DIB_RELEASE-updates $_debian_components"
        if [ -n "$DIB_DEBIAN_SECURITY_MIRROR" ]; then
            DIB_APT_SOURCES_CONF+=$'\n'"security:deb $DIB_DEBIAN_SECURITY_MIRROR $_debian_security $_debian_components"
        fi
        ;;
    esac
    unset _debian_components
fi
unset _debian_security
export DIB_APT_SOURCES_CONF=${DIB_APT_SOURCES_CONF:-}
