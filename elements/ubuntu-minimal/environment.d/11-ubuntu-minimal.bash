export DIB_DEBIAN_COMPONENTS=${DIB_DEBIAN_COMPONENTS:-main,universe}
export DIB_UBUNTU_KERNEL=${DIB_UBUNTU_KERNEL:-linux-image-generic}
export DIB_UBUNTU_MIRROR_DISTS=${DIB_UBUNTU_MIRROR_DISTS:-updates,security,backports}

# Two archives share the work.
if [ -z "${DIB_DISTRIBUTION_MIRROR:-}" ]; then
    case $ARCH in
    amd64 | i386) _ubuntu_archive=archive _ubuntu_dir=ubuntu ;;
    *) _ubuntu_archive=ports _ubuntu_dir=ubuntu-ports ;;
    esac
    DIB_DISTRIBUTION_MIRROR=http://$_ubuntu_archive.ubuntu.com/$_ubuntu_dir
    unset _ubuntu_archive _ubuntu_dir
fi
export DIB_DISTRIBUTION_MIRROR=${DIB_DISTRIBUTION_MIRROR%/}

# One `name:line` a repository.
if [ -z "${DIB_APT_SOURCES_CONF:-}" ]; then
    _ubuntu_components=${DIB_DEBIAN_COMPONENTS//,/ }
    DIB_APT_SOURCES_CONF="ubuntu:deb $DIB_DISTRIBUTION_MIRROR $DIB_RELEASE $_ubuntu_components"
    for _ubuntu_dist in ${DIB_UBUNTU_MIRROR_DISTS//,/ }; do
        # Backports are no updates, as apt knows: an option keeps them from the bootstrap, which takes plain lines.
        _ubuntu_option=
        [ "$_ubuntu_dist" != backports ] || _ubuntu_option="[arch=$ARCH] "
        DIB_APT_SOURCES_CONF+=$'\n'"$_ubuntu_dist:deb $_ubuntu_option$DIB_DISTRIBUTION_MIRROR $DIB_RELEASE-$_ubuntu_dist $_ubuntu_components"
    done
    unset _ubuntu_components _ubuntu_dist _ubuntu_option
fi
export DIB_APT_SOURCES_CONF
