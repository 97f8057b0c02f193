export DISTRO_NAME=centos
export DIB_RELEASE=${DIB_RELEASE:-9-stream}
export DIB_INIT_SYSTEM=systemd
export EFI_BOOT_DIR=EFI/centos
export YUM=${YUM:-dnf}
