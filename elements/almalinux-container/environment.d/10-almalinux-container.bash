export DISTRO_NAME=almalinux
export DIB_RELEASE=${DIB_RELEASE:-10}
export DIB_INIT_SYSTEM=systemd
export EFI_BOOT_DIR=EFI/almalinux
export YUM=${YUM:-dnf}
# Who names a Dockerfile wants what is built of it.
if [ -z "${DIB_CONTAINERFILE_DOCKERFILE:-}" ]; then
    export DIB_CONTAINER_IMAGE=${DIB_CONTAINER_IMAGE:-docker://quay.io/almalinuxorg/almalinux:$DIB_RELEASE}
fi
