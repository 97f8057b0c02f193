export DISTRO_NAME=opensuse
export DIB_RELEASE=${DIB_RELEASE:-15.6}
export DIB_INIT_SYSTEM=systemd
export EFI_BOOT_DIR=EFI/opensuse
_dib_mirror=${DIB_OPENSUSE_MIRROR:-${DIB_DISTRIBUTION_MIRROR:-https://download.opensuse.org}}
_dib_mirror=${_dib_mirror%/}
case "$DIB_RELEASE" in
tumbleweed) _dib_repositories="oss=>$_dib_mirror/tumbleweed/repo/oss" ;;
*) _dib_repositories="oss=>$_dib_mirror/distribution/leap/$DIB_RELEASE/repo/oss,update=>$_dib_mirror/update/leap/$DIB_RELEASE/oss" ;;
esac
export ZYPPER_REPOS=${ZYPPER_REPOS:-$_dib_repositories}
unset _dib_mirror _dib_repositories
