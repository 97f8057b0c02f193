export DIB_INSTALLTYPE_simple_init=${DIB_INSTALLTYPE_simple_init:-source}
# The repository is fetched where it is used.
if [ "$DIB_INSTALLTYPE_simple_init" = repo ]; then
    export DIB_INSTALLTYPE_glean=source
else
    export DIB_INSTALLTYPE_glean=package
fi
export DIB_CLOUD_INIT_DATASOURCES=${DIB_CLOUD_INIT_DATASOURCES:-ConfigDrive}
export DIB_SIMPLE_INIT_NO_DHCP_FALLBACK=${DIB_SIMPLE_INIT_NO_DHCP_FALLBACK:-0}
if [ -z "${DIB_SIMPLE_INIT_NETWORKMANAGER:-}" ]; then
    case "${DISTRO_NAME:-}" in
    almalinux | centos* | fedora | openeuler | rhel* | rocky) DIB_SIMPLE_INIT_NETWORKMANAGER=1 ;;
    *) DIB_SIMPLE_INIT_NETWORKMANAGER=0 ;;
    esac
fi
export DIB_SIMPLE_INIT_NETWORKMANAGER
