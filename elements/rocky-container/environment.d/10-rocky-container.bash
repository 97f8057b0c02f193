export DISTRO_NAME=rocky
export DIB_RELEASE=${DIB_RELEASE:-9}
export DIB_INIT_SYSTEM=systemd
export EFI_BOOT_DIR=EFI/rocky
export YUM=${YUM:-dnf}
# Who names a Dockerfile wants what is built of it.
if [ -z "${DIB_CONTAINERFILE_DOCKERFILE:-}" ]; then
    export DIB_CONTAINER_IMAGE=${DIB_CONTAINER_IMAGE:-docker://quay.io/rockylinux/rockylinux:$DIB_RELEASE}
fi
