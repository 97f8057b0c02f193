//! Packages → SPDX 2.3, as JSON.
//!
//! Spec: <https://spdx.github.io/spdx-spec/v2.3/>. A licence that a package tells in words of its own is a comment:
//! `licenseDeclared` takes nothing but expressions.

use serde_json::{Map, Value, json};

use super::{Distribution, Kind, Package};

/// What a document is about.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    /// The name of the image.
    pub image: &'a str,
    /// What it says that it is.
    pub distribution: &'a Distribution,
    /// When it was made: `2026-11-22T23:59:01Z`.
    pub created: &'a str,
    /// What tells this document from all others.
    pub uuid: &'a str,
    /// The elements of the build, in order.
    pub elements: &'a [&'a str],
}

/// The document.
pub fn document(packages: &[Package], subject: &Subject<'_>) -> Value {
    let mut listed = vec![image(subject)];
    let mut relations = vec![relation("SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-image")];
    for (number, package) in packages.iter().enumerate() {
        let id = id(number);
        relations.push(relation("SPDXRef-image", "CONTAINS", &id));
        let is_owner = |other: &Package| Some(&other.name) == package.within.as_ref() && !other.foreign;
        let owner = package.within.as_ref().and_then(|_| {
            packages
                .iter()
                .position(|other| other.kind != Kind::Python && is_owner(other))
        });
        if let Some(owner) = owner {
            relations.push(relation(&self::id(owner), "CONTAINS", &id));
        }
        listed.push(of_package(package, &id, subject.distribution));
    }
    json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": subject.image,
        "documentNamespace": format!("https://spdx.org/spdxdocs/diskimage-builder-{}", subject.uuid),
        "creationInfo": {
            "created": subject.created,
            "creators": [concat!("Tool: diskimage-builder-", env!("CARGO_PKG_VERSION"))],
        },
        "packages": listed,
        "relationships": relations,
    })
}

fn id(number: usize) -> String {
    format!("SPDXRef-package-{}", number + 1)
}

fn relation(from: &str, how: &str, to: &str) -> Value {
    json!({"spdxElementId": from, "relationshipType": how, "relatedSpdxElement": to})
}

fn image(subject: &Subject<'_>) -> Value {
    let mut image = unknown("SPDXRef-image", subject.image);
    if let Some(name) = &subject.distribution.name {
        image.insert("summary".into(), name.as_str().into());
    }
    let elements = format!("elements: {}", subject.elements.join(" "));
    image.insert("comment".into(), elements.into());
    image.into()
}

/// A package of which no more is known than its name.
fn unknown(id: &str, name: &str) -> Map<String, Value> {
    let fields = [
        ("SPDXID", id),
        ("name", name),
        ("downloadLocation", "NOASSERTION"),
        ("licenseConcluded", "NOASSERTION"),
        ("licenseDeclared", "NOASSERTION"),
        ("copyrightText", "NOASSERTION"),
    ];
    let mut map: Map<String, Value> = fields
        .map(|(name, value)| (name.to_owned(), value.into()))
        .into_iter()
        .collect();
    map.insert("filesAnalyzed".into(), false.into());
    map
}

fn of_package(package: &Package, id: &str, distribution: &Distribution) -> Value {
    let mut map = unknown(id, &package.name);
    map.insert("versionInfo".into(), package.version.as_str().into());
    if let Some(supplier) = &package.supplier {
        map.insert("supplier".into(), format!("Organization: {supplier}").into());
    }
    if let Some(licence) = &package.licence {
        map.insert(
            "licenseComments".into(),
            format!("the package says: {licence}").into(),
        );
    }
    let source = package
        .source
        .as_ref()
        .map(|source| format!("built of source package {source}"));
    let place = package.path.as_ref().map(|path| format!("lies in {path}"));
    let owner = package
        .within
        .as_ref()
        .map(|owner| format!("part of package {owner}"));
    let facts: Vec<String> = [source, owner, place].into_iter().flatten().collect();
    if !facts.is_empty() {
        map.insert("sourceInfo".into(), facts.join("; ").into());
    }
    if let Some(element) = &package.element {
        map.insert("comment".into(), format!("element: {element}").into());
    }
    map.insert(
        "externalRefs".into(),
        json!([{
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceType": "purl",
            "referenceLocator": package.purl(distribution),
        }]),
    );
    map.into()
}
