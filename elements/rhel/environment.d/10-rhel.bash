export DISTRO_NAME=rhel
export DIB_RELEASE=${DIB_RELEASE:-9}
export DIB_INIT_SYSTEM=systemd
export EFI_BOOT_DIR=EFI/redhat
case $DIB_RELEASE in
7 | 7.*) export YUM=${YUM:-yum} ;;
*) export YUM=${YUM:-dnf} ;;
esac
