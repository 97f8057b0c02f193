for _variable in DIB_LOCAL_IMAGE DISTRO_NAME DIB_RELEASE DIB_INIT_SYSTEM EFI_BOOT_DIR; do
    if [ -z "${!_variable:-}" ]; then
        echo "replace-partition: $_variable is not set, see its README.md" >&2
        exit 1
    fi
    export "${_variable?}"
done
unset _variable
# Nothing is installed.
export DIB_AVOID_PACKAGES_UPDATE=1
export DIB_SKIP_BASE_PACKAGE_INSTALL=1
export DIB_SKIP_GRUB_PACKAGE_INSTALL=True
