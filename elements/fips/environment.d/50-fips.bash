case "${DISTRO_NAME:-}" in
almalinux | centos* | fedora | rhel* | rocky | '') ;;
*)
    echo "fips: $DISTRO_NAME has no FIPS mode that can be set while an image is built" >&2
    exit 1
    ;;
esac
export DIB_FIPS=1
