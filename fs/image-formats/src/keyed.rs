//! Options of formats in the words of `qemu-img convert -o`, as far as all formats share them.

/// Why an option can't be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// No such option.
    #[error("{format} has no option '{key}'")]
    Unknown {
        /// The format.
        format: &'static str,
        /// Its name.
        key: String,
    },
    /// An option has no such value.
    #[error("'{value}' is no value of {key}, which is {expected}")]
    BadValue {
        /// The option.
        key: &'static str,
        /// The value.
        value: String,
        /// What it may be.
        expected: &'static str,
    },
    /// An option of qemu-img that asks for what this program doesn't write.
    #[error("{key}={value} is not supported: {why}")]
    Unsupported {
        /// The option.
        key: &'static str,
        /// The value.
        value: String,
        /// Why there is no such image.
        why: &'static str,
    },
}

pub(crate) fn bad(key: &'static str, value: &str, expected: &'static str) -> OptionError {
    OptionError::BadValue {
        key,
        value: value.to_owned(),
        expected,
    }
}

pub(crate) fn unsupported(key: &'static str, value: &str, why: &'static str) -> OptionError {
    OptionError::Unsupported {
        key,
        value: value.to_owned(),
        why,
    }
}

pub(crate) fn unknown(format: &'static str, key: &str) -> OptionError {
    OptionError::Unknown {
        format,
        key: key.to_owned(),
    }
}

pub(crate) fn switch(key: &'static str, value: &str) -> Result<bool, OptionError> {
    match value {
        "on" | "yes" | "true" => Ok(true),
        "off" | "no" | "false" => Ok(false),
        _ => Err(bad(key, value, "on or off")),
    }
}
