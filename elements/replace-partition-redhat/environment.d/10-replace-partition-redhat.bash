export DISTRO_NAME=${DISTRO_NAME:-centos}
export DIB_RELEASE=${DIB_RELEASE:-9-stream}
export DIB_INIT_SYSTEM=${DIB_INIT_SYSTEM:-systemd}
if [ -z "${EFI_BOOT_DIR:-}" ]; then
    case "$DISTRO_NAME" in
    rhel) EFI_BOOT_DIR=EFI/redhat ;;
    *) EFI_BOOT_DIR=EFI/$DISTRO_NAME ;;
    esac
fi
export EFI_BOOT_DIR
