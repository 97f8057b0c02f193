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
