export DISTRO_NAME=fedora
export DIB_RELEASE=${DIB_RELEASE:-37}
export DIB_INIT_SYSTEM=systemd
export EFI_BOOT_DIR=EFI/fedora
export YUM=${YUM:-dnf}
