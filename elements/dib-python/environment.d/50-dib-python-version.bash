if [ -z "${DIB_PYTHON_VERSION:-}" ]; then
    case "${DISTRO_NAME:-}:${DIB_RELEASE:-}" in
    ubuntu:trusty | debian:wheezy | debian:jessie | centos:7 | centos7:* | rhel:7 | rhel7:*) DIB_PYTHON_VERSION=2 ;;
    *) DIB_PYTHON_VERSION=3 ;;
    esac
fi
export DIB_PYTHON_VERSION
export DIB_PYTHON=python$DIB_PYTHON_VERSION
