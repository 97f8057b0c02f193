export DISTRO_NAME=${DISTRO_NAME:-debian}
export DIB_RELEASE=${DIB_RELEASE:-stable}
export DIB_INIT_SYSTEM=${DIB_INIT_SYSTEM:-systemd}
