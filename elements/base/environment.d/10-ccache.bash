# In the chroot alone, where the cache lies: compilers that ccache stands in for come first.
if [ -z "${TARGET_ROOT:-}" ] && [ -d /tmp/ccache ] && [ -d /tmp/in_target.d ]; then
    export CCACHE_DIR=/tmp/ccache
    export PATH=/usr/lib/ccache:/usr/lib64/ccache:$PATH
fi
