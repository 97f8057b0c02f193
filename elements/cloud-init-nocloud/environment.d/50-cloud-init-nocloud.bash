# Before the defaults of distributions, which only say what nobody said.
export DIB_CLOUD_INIT_DATASOURCES=NoCloud
