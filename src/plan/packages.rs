//! Which packages elements ask for, as far as that is known before anything runs.
//!
//! Conditions are judged by the caller's variables. One that names a variable which only `environment.d` will set is
//! open: the plan says which variable decides.

use std::cell::RefCell;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::applets::package_installs::{self, KEYS, Lookup};
use crate::element::library::{Element, Item};
use crate::error::Result;

/// A package that an element asks for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlannedPackage {
    /// Its generic name, which `pkg-map` may translate.
    pub package: String,
    /// The element that asks.
    pub element: String,
    /// The directory of the phase.
    pub phase: String,
    /// `install`, `uninstall`, or `build-only`: installed, and removed at the end of the phase.
    pub action: &'static str,
    /// The conditions, as they are written.
    pub conditions: Map<String, Value>,
    /// Whether they hold; `None`: that is open.
    pub applies: Option<bool>,
    /// The variables that decide what is open.
    pub decided_by: Vec<String>,
}

/// The packages of an element's files, and what is wrong with them.
pub fn packages(
    element: &Element,
    items: &[Item],
    variable: Lookup<'_>,
) -> Result<(Vec<PlannedPackage>, Vec<String>)> {
    let (mut found, mut faults) = (Vec::new(), Vec::new());
    for item in items {
        let Some(name) = item.path.to_str() else { continue };
        let legacy = name
            .split_once("/package-installs-")
            .filter(|(dir, _)| package_installs::PHASES.contains(dir));
        if let Some((phase, _)) = legacy {
            let Some(text) = element.text_of(item) else {
                continue;
            };
            found.extend(listed(&text, phase, element));
        } else if package_installs::FILES.contains(&name) {
            let Some(text) = element.text_of(item) else {
                continue;
            };
            let mut fault = |what: String| {
                faults.push(format!("element {}: {name}: {what}", element.name));
            };
            match package_installs::parse(&text) {
                Err(told) => fault(told),
                Ok(packages) => {
                    for (package, value) in packages.unwrap_or_default() {
                        match entries(&package, &value, element, variable) {
                            Ok(entries) => found.extend(entries),
                            Err(told) => fault(told),
                        }
                    }
                }
            }
        }
    }
    Ok((found, faults))
}

/// The packages of an old list: a name a line, `-` before those to remove.
fn listed(text: &str, phase: &str, element: &Element) -> Vec<PlannedPackage> {
    let lines = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default());
    let words = lines.map(str::trim).filter(|word| !word.is_empty());
    let package = |word: &str| PlannedPackage {
        package: word.trim_start_matches('-').to_owned(),
        element: element.name.clone(),
        phase: phase.to_owned(),
        action: if word.starts_with('-') {
            "uninstall"
        } else {
            "install"
        },
        conditions: Map::new(),
        applies: Some(true),
        decided_by: Vec::new(),
    };
    words.map(package).collect()
}

/// The entries of one package of a file.
fn entries(
    package: &str,
    value: &Value,
    element: &Element,
    variable: Lookup<'_>,
) -> Result<Vec<PlannedPackage>, String> {
    let alternatives = match value {
        Value::Array(list) => list.clone(),
        one => vec![one.clone()],
    };
    let entry = |value: Value| {
        let unset = RefCell::new(Vec::new());
        let asked = |name: &str| {
            let value = variable(name);
            // These two have defaults, whoever sets them.
            let defaults = name.starts_with("DIB_INSTALLTYPE_") || name == "DIB_PYTHON_VERSION";
            if value.is_none() && !defaults {
                unset.borrow_mut().push(name.to_owned());
            }
            value
        };
        let single = Map::from_iter([(package.to_owned(), value.clone())]);
        let judged = package_installs::squash(&[(element.name.clone(), single)], &asked);
        let unset = unset.into_inner();
        let applies = match judged {
            Ok(squashed) => Some(!squashed.is_empty()),
            Err(_) if !unset.is_empty() => None,
            Err(told) => return Err(told),
        };
        let map = value.as_object().cloned().unwrap_or_default();
        let truth = |key: &str| map.get(key).is_some_and(package_installs::is_true);
        Ok(PlannedPackage {
            package: package.to_owned(),
            element: element.name.clone(),
            phase: map
                .get("phase")
                .and_then(Value::as_str)
                .unwrap_or("install.d")
                .to_owned(),
            action: match (truth("uninstall"), truth("build-only")) {
                (true, _) => "uninstall",
                (false, true) => "build-only",
                (false, false) => "install",
            },
            conditions: map
                .into_iter()
                .filter(|(key, _)| KEYS.contains(&key.as_str()))
                .filter(|(key, _)| !["phase", "uninstall", "build-only"].contains(&key.as_str()))
                .collect(),
            decided_by: applies.map_or(unset, |_| Vec::new()),
            applies,
        })
    };
    alternatives.into_iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::element::library::{Bytes, ItemKind, Origin};

    fn planned(file: &str, text: &'static str) -> (Vec<String>, Vec<String>) {
        let element = Element {
            name: "app".into(),
            origin: Origin::BuiltIn,
            deps: Vec::new(),
            provides: Vec::new(),
        };
        let item = Item {
            path: file.into(),
            kind: ItemKind::File {
                run: false,
                bytes: Bytes::Embedded(text.as_bytes()),
            },
        };
        let variable = |name: &str| (name == "ARCH").then(|| "amd64".to_owned());
        let (packages, faults) = packages(&element, &[item], &variable).unwrap();
        let line = |package: PlannedPackage| {
            let PlannedPackage {
                package,
                phase,
                action,
                applies,
                decided_by,
                ..
            } = package;
            format!("{package} {phase} {action} {applies:?} {}", decided_by.join(","))
        };
        (packages.into_iter().map(line).collect(), faults)
    }

    #[test]
    fn conditions_hold_do_not_or_are_open() {
        let text = "
a:
b: {phase: pre-install.d, build-only: true}
c: {uninstall: true, arch: arm64}
d: [{arch: amd64}, {when: DISTRO_NAME = debian, phase: post-install.d}]
e: {installtype: package}
";
        let (packages, faults) = planned("package-installs.yaml", text);
        assert_eq!(
            packages,
            [
                "a install.d install Some(true) ",
                "b pre-install.d build-only Some(true) ",
                "c install.d uninstall Some(false) ",
                "d install.d install Some(true) ",
                "d post-install.d install None DISTRO_NAME",
                "e install.d install Some(false) ",
            ]
        );
        assert_eq!(faults, [""; 0]);
    }

    #[test]
    fn old_lists_are_read_and_faults_told() {
        let (packages, _) = planned(
            "install.d/package-installs-app",
            "# some\nvim\n-nano # not this\n\n",
        );
        assert_eq!(
            packages,
            [
                "vim install.d install Some(true) ",
                "nano install.d uninstall Some(true) "
            ]
        );
        assert!(planned("root.d/package-installs-app", "vim").0.is_empty());
        let (packages, faults) = planned("package-installs.json", "{\"a\": {\"arhc\": \"x\"}, \"b\": {}}");
        assert_eq!(packages.len(), 1);
        assert_eq!(
            faults,
            ["element app: package-installs.json: element 'app', package 'a': unknown key 'arhc'"]
        );
        assert_eq!(planned("package-installs.yaml", "").0, [""; 0]);
    }
}
