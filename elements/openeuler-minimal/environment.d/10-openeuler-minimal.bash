export DISTRO_NAME=openeuler
export DIB_RELEASE=${DIB_RELEASE:-22.03-LTS}
export DIB_INIT_SYSTEM=systemd
export EFI_BOOT_DIR=EFI/openEuler
export YUM=${YUM:-dnf}
export DIB_YUM_MINIMAL_BOOTSTRAP_PACKAGES=${DIB_YUM_MINIMAL_BOOTSTRAP_PACKAGES:-openEuler-release openEuler-gpg-keys openEuler-repos dnf}
