//! Packages → `CycloneDX` 1.5, as JSON.
//!
//! Spec: <https://cyclonedx.org/docs/1.5/json/>. What the format has no field for are properties: `dib:element` is the
//! element that brought a package, `dib:package` the package of the distribution that has the files of one of Python.

use serde_json::{Map, Value, json};

use super::Package;
use super::spdx::Subject;

/// The document.
pub fn document(packages: &[Package], subject: &Subject<'_>) -> Value {
    let elements = subject.elements.iter().map(|name| property("dib:element", name));
    let mut image = json!({
        "type": "operating-system",
        "bom-ref": "image",
        "name": subject.image,
        "properties": elements.collect::<Vec<_>>(),
    });
    if let Some(name) = &subject.distribution.name {
        image["description"] = name.as_str().into();
    }
    let numbered = packages.iter().enumerate();
    let components: Vec<Value> = numbered
        .map(|(number, package)| component(number + 1, package, subject))
        .collect();
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": format!("urn:uuid:{}", subject.uuid),
        "version": 1,
        "metadata": {
            "timestamp": subject.created,
            "tools": {"components": [{
                "type": "application",
                "name": "diskimage-builder",
                "version": env!("CARGO_PKG_VERSION"),
            }]},
            "component": image,
        },
        "components": components,
    })
}

fn property(name: &str, value: &str) -> Value {
    json!({"name": name, "value": value})
}

fn component(number: usize, package: &Package, subject: &Subject<'_>) -> Value {
    let mut map = Map::new();
    for (name, value) in [
        ("type", "library".to_owned()),
        // One package may be there twice.
        ("bom-ref", format!("package-{number}")),
        ("name", package.name.clone()),
        ("version", package.version.clone()),
        ("purl", package.purl(subject.distribution)),
    ] {
        map.insert(name.into(), value.into());
    }
    if let Some(supplier) = &package.supplier {
        map.insert("supplier".into(), json!({"name": supplier}));
    }
    if let Some(licence) = &package.licence {
        map.insert("licenses".into(), json!([{"license": {"name": licence}}]));
    }
    let facts = [
        ("dib:element", &package.element),
        ("dib:package", &package.within),
        ("dib:path", &package.path),
        ("dib:source", &package.source),
    ];
    let properties = facts
        .into_iter()
        .filter_map(|(name, value)| Some(property(name, value.as_deref()?)));
    let properties: Vec<Value> = properties.collect();
    if !properties.is_empty() {
        map.insert("properties".into(), properties.into());
    }
    map.into()
}
