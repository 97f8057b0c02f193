#!/bin/sh
# Asks for an address by DHCP on the network interfaces that are named, or on all that there are, where nothing else does.
set -eu
[ "${DIB_DEBUG_TRACE:-0}" -eq 0 ] || set -x

if [ -z "${DHCP_TIMEOUT:-}" ] && [ -r /etc/default/dhcp-all-interfaces ]; then
    # shellcheck source=/dev/null
    . /etc/default/dhcp-all-interfaces
fi
timeout=${DHCP_TIMEOUT:-30}
net=/sys/class/net

say() {
    echo "dhcp-all-interfaces: $interface: $*"
}

# A device of this machine that speaks Ethernet or InfiniBand by wire, and is not part of another interface.
real() {
    [ -e "$net/$1/device" ] || return 1
    [ ! -e "$net/$1/master" ] && [ ! -e "$net/$1/wireless" ] && [ ! -e "$net/$1/phy80211" ] || return 1
    # The function that a card lends to guests is theirs.
    [ ! -e "$net/$1/device/physfn" ] || return 1
    case $(cat "$net/$1/type") in
    1 | 32) ;;
    *) return 1 ;;
    esac
}

has_address() {
    [ -n "$(ip -4 -o address show dev "$1" scope global 2>/dev/null)" ]
}

runs() {
    [ -d /run/systemd/system ] && systemctl --quiet is-active "$1"
}

# Whether the image or its cloud says how this interface is to be configured.
configured() {
    for file in "/etc/sysconfig/network-scripts/ifcfg-$1" "/etc/sysconfig/network/ifcfg-$1"; do
        [ ! -e "$file" ] || return 0
    done
    # Both with and without ifupdown: its configuration in several files.
    if grep -qsE "^[[:blank:]]*iface[[:blank:]]+$1[[:blank:]]" /etc/network/interfaces /etc/network/interfaces.d/*; then
        return 0
    fi
    if runs systemd-networkd.service; then
        # It knows only once udev is through with the interface.
        waited=0
        while :; do
            case $(networkctl --no-legend --no-pager list "$1" 2>/dev/null) in
            *unmanaged* | '') break ;;
            *pending* | *initialized*) [ "$waited" -lt "$timeout" ] || break ;;
            *) return 0 ;;
            esac
            sleep 1
            waited=$((waited + 1))
        done
    fi
    return 1
}

has_link() {
    [ "$(cat "$net/$1/carrier" 2>/dev/null || echo 0)" = 1 ]
}

wait_for_link() {
    ip link set dev "$1" up
    waited=0
    while ! has_link "$1"; do
        [ "$waited" -lt "$timeout" ] || return 1
        sleep 1
        waited=$((waited + 1))
    done
}

# By what configures the network here.
ask() {
    if runs NetworkManager.service; then
        nmcli --wait "$timeout" device connect "$1"
    elif runs systemd-networkd.service; then
        mkdir -p /run/systemd/network
        printf '[Match]\nName=%s\n\n[Network]\nDHCP=yes\n' "$1" >"/run/systemd/network/90-dhcp-$1.network"
        networkctl reload
    elif [ -f /etc/network/interfaces ] && command -v ifup >/dev/null; then
        mkdir -p /run/network/interfaces.d
        printf 'iface %s inet dhcp\n' "$1" >"/run/network/interfaces.d/$1"
        if grep -qxF 'source /run/network/interfaces.d/*' /etc/network/interfaces; then
            ifup "$1"
        else
            # Alpine's ifup knows no patterns behind `source`.
            ifup -i "/run/network/interfaces.d/$1" "$1"
        fi
    elif command -v wicked >/dev/null; then
        printf "BOOTPROTO='dhcp'\nSTARTMODE='auto'\n" >"/etc/sysconfig/network/ifcfg-$1"
        wicked ifup --timeout "$timeout" "$1"
    elif [ -d /etc/sysconfig/network-scripts ] && command -v ifup >/dev/null; then
        printf 'DEVICE=%s\nBOOTPROTO=dhcp\nONBOOT=yes\nTYPE=Ethernet\n' "$1" >"/etc/sysconfig/network-scripts/ifcfg-$1"
        ifup "$1"
    elif command -v dhcpcd >/dev/null; then
        dhcpcd --quiet --waitip=4 --timeout "$timeout" "$1"
    elif command -v dhclient >/dev/null; then
        dhclient -1 "$1"
    elif command -v udhcpc >/dev/null; then
        udhcpc -i "$1" -n -q -t "$timeout"
    else
        echo "there is no DHCP client" >&2
        return 1
    fi
}

serve() {
    interface=$1
    if ! real "$interface"; then
        say "it is no wired interface of this machine: left alone"
    elif has_address "$interface"; then
        say "it has an address"
    elif configured "$interface"; then
        say "the image says how it is configured: left alone"
    elif ! wait_for_link "$interface"; then
        say "no link within $timeout seconds"
    elif ask "$interface"; then
        say "asked for an address"
    else
        say "no address by DHCP" >&2
        return 1
    fi
}

status=0
if [ $# -eq 0 ]; then
    for path in "$net"/*; do
        set -- "$@" "${path##*/}"
    done
fi
for name in "$@"; do
    serve "$name" || status=1
done
exit "$status"
