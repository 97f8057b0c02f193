//! The table of checks.

/// Every check: its name, and what it wants.
pub(super) const CHECKS: [(&str, &str); 25] = [
    ("readme", "each element has a README.rst or README.md"),
    ("mddocs", "no documents in Markdown but README.md"),
    ("executable", "what begins with #! is executable"),
    (
        "shebang",
        "hooks for a shell begin with #!/bin/bash, other scripts perhaps with #!/bin/sh",
    ),
    ("sete", "bash scripts say set -e"),
    ("setu", "bash scripts say set -u"),
    ("setpipefail", "bash scripts say set -o pipefail"),
    ("dibdebugtrace", "bash scripts respect DIB_DEBUG_TRACE"),
    ("indent", "scripts are indented by multiples of four blanks"),
    ("tabindent", "nothing is indented by tabs"),
    ("newline", "files end with a line end"),
    (
        "export",
        "a variable is set before it is exported where a command gives its value, whose failure is lost otherwise",
    ),
    (
        "which",
        "no which, which is not everywhere: type -P finds programs",
    ),
    (
        "safe_sudo",
        "sudo in host phases names a path of the build, such as $TARGET_ROOT",
    ),
    ("envexec", "snippets of environment.d are not executable"),
    ("envtrace", "snippets of environment.d do not trace"),
    ("depsorder", "element-deps is sorted"),
    ("yaml", "YAML can be read"),
    ("json", "JSON and pkg-map can be read"),
    ("packages", "package-installs files say what can be understood"),
    ("sources", "source-repository files say what can be understood"),
    ("hookmode", "what is named like a hook in a phase may be executed"),
    (
        "hookname",
        "executable files of a phase have names of hooks, without dots",
    ),
    (
        "phasename",
        "no directory or file is named nearly like one that means something",
    ),
    (
        "duplicate",
        "no two elements that can be used together have the same hook",
    ),
];
