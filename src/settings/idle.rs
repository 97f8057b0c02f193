//! Variables of diskimage-builder that say nothing here, since what they steer does not happen.

use crate::environment::Environment;

/// Names, and why they are without effect.
const VARIABLES: [(&str, &str); 5] = [
    (
        "DIB_GZIP_BIN",
        "archives are compressed in-process, on all processors",
    ),
    (
        "DIB_PYTHON_LOGGING_CONFIG_FILE",
        "no Python runs; --logfile and --events say where a build tells what it does",
    ),
    ("DUMP_CONFIG_GRAPH", "'dib plan' prints the layout of the disks"),
    ("EXTRA_DETACH", "no device is attached"),
    ("EXTRA_UNMOUNT", "what hooks mount goes with the build"),
];

/// A warning for each that the caller has set.
pub fn warnings(environment: &Environment) -> Vec<String> {
    let set = VARIABLES
        .iter()
        .filter(|(name, _)| environment.non_empty(name).is_some());
    set.map(|(name, why)| format!("{name} is without effect: {why}"))
        .collect()
}
