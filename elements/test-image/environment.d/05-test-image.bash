export DIB_TEST_IMAGE=${DIB_TEST_IMAGE:-tar}
case $DIB_TEST_IMAGE in
tar) export DIB_LOCAL_IMAGE=$TMP_BUILD_DIR/test-image.tar ;;
container) export DIB_CONTAINER_IMAGE=$TMP_BUILD_DIR/test-image.tar ;;
host) export PATH=$TMP_BUILD_DIR/test-host:$PATH ;;
*)
    echo "DIB_TEST_IMAGE=$DIB_TEST_IMAGE is none of tar, container and host" >&2
    exit 1
    ;;
esac
