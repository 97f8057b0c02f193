case "${DISTRO_NAME:-}" in
almalinux | centos* | fedora | rhel* | rocky | '') ;;
*)
    echo "keylime-agent: no package of the agent is known for $DISTRO_NAME" >&2
    exit 1
    ;;
esac
export DIB_KEYLIME_AGENT_REGISTRAR_PORT=${DIB_KEYLIME_AGENT_REGISTRAR_PORT:-8890}
if [ -z "${DIB_KEYLIME_AGENT_REGISTRAR_IP:-}" ]; then
    echo "DIB_KEYLIME_AGENT_REGISTRAR_IP is not set: it must be the address of the Keylime registrar" >&2
    exit 1
fi
