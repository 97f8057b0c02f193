export DISTRO_NAME=centos
export DIB_RELEASE=${DIB_RELEASE:-9-stream}
export DIB_INIT_SYSTEM=systemd
export EFI_BOOT_DIR=EFI/centos
export YUM=${YUM:-dnf}
export DIB_YUM_MINIMAL_BOOTSTRAP_PACKAGES=${DIB_YUM_MINIMAL_BOOTSTRAP_PACKAGES:-centos-stream-release centos-stream-repos dnf glibc-minimal-langpack}
