export DISTRO_NAME=fedora
export DIB_RELEASE=${DIB_RELEASE:-37}
export DIB_INIT_SYSTEM=systemd
export EFI_BOOT_DIR=EFI/fedora
export YUM=${YUM:-dnf}
export DIB_YUM_MINIMAL_BOOTSTRAP_PACKAGES=${DIB_YUM_MINIMAL_BOOTSTRAP_PACKAGES:-fedora-release-cloud fedora-repos dnf glibc-minimal-langpack}
