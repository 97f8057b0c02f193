export DIB_REPOLOCATION_pyenv=file://$TMP_BUILD_DIR/pyenv.tar
