export DISTRO_NAME=fedora
export DIB_RELEASE=${DIB_RELEASE:-37}
export DIB_INIT_SYSTEM=systemd
export EFI_BOOT_DIR=EFI/fedora
export YUM=${YUM:-dnf}
# Who names a Dockerfile wants what is built of it.
if [ -z "${DIB_CONTAINERFILE_DOCKERFILE:-}" ]; then
    export DIB_CONTAINER_IMAGE=${DIB_CONTAINER_IMAGE:-docker://registry.fedoraproject.org/fedora:$DIB_RELEASE}
fi
