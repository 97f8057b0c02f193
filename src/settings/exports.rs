//! What options of the command line are to hooks: variables, which the record of the build names too.
//!
//! Hooks see a value under one name, whether it came by an option or by the variable itself. The options that are not
//! here, `-t` and `-p` among them, are no business of hooks.

use super::Flags;

impl Flags {
    /// The variables that stand for the options given.
    pub fn exports(&self) -> Vec<(&'static str, String)> {
        let texts = [
            ("DIB_IMAGE_SIZE", &self.image_size),
            ("DIB_IMAGE_EXTRA_SIZE", &self.image_extra_size),
            ("DIB_JOURNAL_SIZE", &self.journal_size),
            ("DIB_MIN_TMPFS", &self.min_tmpfs),
            ("MAX_ONLINE_RESIZE", &self.max_online_resize),
            ("QEMU_IMG_OPTIONS", &self.format_options),
            ("RAMDISK_ELEMENT", &self.ramdisk_element),
            ("DIB_RAMDISK_COMPRESSION", &self.ramdisk_compression),
            ("DIB_DEFAULT_INSTALLTYPE", &self.install_type),
            ("DOCKER_TARGET", &self.docker_target),
        ];
        let switches = [
            ("SKIP_BASE", self.skip_base, "1"),
            ("COMPRESS_IMAGE", self.uncompressed, ""),
            ("DIB_CHECKSUM", self.checksum, "1"),
            ("DIB_NO_TMPFS", self.no_tmpfs, "1"),
            ("DIB_OFFLINE", self.offline, "1"),
        ];
        let log = self
            .logfile
            .as_ref()
            .map(|path| ("LOGFILE", path.display().to_string()));
        texts
            .into_iter()
            .filter_map(|(name, text)| Some((name, text.clone()?)))
            .chain(
                switches
                    .into_iter()
                    .filter(|(_, given, _)| *given)
                    .map(|(name, _, value)| (name, value.to_owned())),
            )
            .chain(log)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_options_that_were_given_are_exported() {
        assert_eq!(Flags::default().exports(), []);
        let flags = Flags {
            image_size: Some("0.1".into()),
            uncompressed: true,
            logfile: Some("log".into()),
            types: vec!["raw".into()],
            root_label: Some("label".into()),
            ..Flags::default()
        };
        let exports = flags.exports();
        let exports: Vec<_> = exports
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(exports, ["DIB_IMAGE_SIZE=0.1", "COMPRESS_IMAGE=", "LOGFILE=log"]);
    }
}
