//! The variables of an element: those of its README's tables, and those that its files read.

use std::collections::BTreeMap;

use regex_lite::Regex;
use serde::Serialize;

use super::text_of;
use crate::element::library::Item;

/// A variable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// What it is unless somebody sets it, as the README or the element's files say.
    pub default: Option<String>,
    /// What it means, as the README says.
    pub meaning: Option<String>,
}

/// The variables of the README's tables, in their order, then others that the element's files name.
pub(super) fn variables(items: &[Item], readme: &str) -> Vec<Variable> {
    let mut variables = told(readme);
    let mut others = read(items);
    // Every hook heeds this one.
    others.remove("DIB_DEBUG_TRACE");
    others.retain(|name, _| !variables.iter().any(|known| known.name == *name));
    variables.extend(others.into_iter().map(|(name, default)| Variable {
        name,
        default,
        meaning: None,
    }));
    variables
}

/// The rows of all tables whose first column is headed `Variable`. Other tables are of keys, commands, words for the kernel.
fn told(readme: &str) -> Vec<Variable> {
    let name = Regex::new("`([A-Za-z][A-Za-z0-9_]*)`").expect("the pattern is a constant");
    let mut variables = Vec::new();
    let mut columns: Option<Vec<&str>> = None;
    for line in readme.lines() {
        let Some(cells) = cells(line) else {
            columns = None;
            continue;
        };
        if let Some(columns) = &columns {
            variables.extend(row(&name, columns, &cells));
        } else {
            columns = Some(cells);
        }
    }
    variables
}

/// The cells of a line of a table.
fn cells(line: &str) -> Option<Vec<&str>> {
    let inner = line.trim().strip_prefix('|')?.strip_suffix('|')?;
    Some(inner.split('|').map(str::trim).collect())
}

/// The variables of a row, by the pattern of a name: one cell may have several, and then their defaults too, in the same order.
fn row(name: &Regex, columns: &[&str], cells: &[&str]) -> Vec<Variable> {
    let (Some(&"Variable"), [first, .., meaning]) = (columns.first(), cells) else {
        return Vec::new();
    };
    let names: Vec<&str> = name
        .captures_iter(first)
        .filter_map(|found| found.get(1))
        .map(|name| name.as_str())
        .collect();
    let default = match (columns.get(1), cells.get(1)) {
        (Some(&"Default"), Some(default)) if cells.len() > 2 => Some(*default),
        _ => None,
    };
    let each: Vec<&str> = default.map(|cell| cell.split(", ").collect()).unwrap_or_default();
    let is_code = |word: &&str| word.len() > 2 && word.starts_with('`') && word.ends_with('`');
    let one_each = each.len() == names.len() && each.iter().all(is_code);
    let variable = |(number, name): (usize, &str)| Variable {
        name: name.to_owned(),
        default: if one_each { Some(each[number]) } else { default }.map(str::to_owned),
        meaning: Some((*meaning).to_owned()),
    };
    names.into_iter().enumerate().map(variable).collect()
}

/// The variables that the element's files name, and the defaults that they give them.
fn read(items: &[Item]) -> BTreeMap<String, Option<String>> {
    let name = Regex::new(r"\bDIB_\w+").expect("the pattern is a constant");
    let default = Regex::new(r"\$\{(DIB_\w+):?[-=]([^}$]*)\}").expect("the pattern is a constant");
    let is_code = |item: &&Item| {
        !item.path.to_string_lossy().starts_with("README")
            && !item.path.starts_with("test-elements")
            && !item.path.starts_with("tests")
    };
    let mut read: BTreeMap<String, Option<String>> = BTreeMap::new();
    for item in items.iter().filter(is_code) {
        let Some(text) = text_of(items, &item.path) else {
            continue;
        };
        let names = name.find_iter(&text).map(|found| found.as_str());
        // What ends so is the beginning of names that are put together.
        for name in names.filter(|name| !name.ends_with('_')) {
            read.entry(name.to_owned()).or_default();
        }
        for found in default.captures_iter(&text) {
            let value = Some(found[2].to_owned()).filter(|value| !value.is_empty());
            // Where it is only tested the default is empty.
            let known = read.entry(found[1].to_owned()).or_default();
            *known = known.take().or(value);
        }
    }
    read
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_tables_of_variables_are_read_whatever_they_hold() {
        let readme = "\
| Key | Default | Meaning |
|---|---|---|
| `phase` | `install.d` | no variable |

| Variable | Default | Meaning |
|---|---|---|
| `A_TIME`, `A_STYLE` | `5`, `menu` | both |
| `B_URL`, `B_REF` | its project's, `master` | which |
| `C_URL_1`, `_2`, ... | unset | more |

| Variable | Meaning, in a table of two columns |
|---|---|
| `D_TYPE`, `E` | two |
";
        let told: Vec<String> = told(readme)
            .into_iter()
            .map(|variable| {
                let (default, meaning) = (variable.default.unwrap_or_default(), variable.meaning.unwrap());
                format!("{}; {default}; {meaning}", variable.name)
            })
            .collect();
        assert_eq!(
            told,
            [
                "A_TIME; `5`; both",
                "A_STYLE; `menu`; both",
                "B_URL; its project's, `master`; which",
                "B_REF; its project's, `master`; which",
                "C_URL_1; unset; more",
                "D_TYPE; ; two",
                "E; ; two",
            ]
        );
    }
}
