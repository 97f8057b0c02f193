export CASE_SOURCES=file://$TMP_BUILD_DIR/case-sources
