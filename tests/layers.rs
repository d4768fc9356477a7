//! The house: who may import whom (docs/ARCHITECTURE.md), which module owns which crate, and that no source file is
//! forgotten. Read from the source itself, so that a new import is a decision and not an accident.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Each layer and what it may import; itself always.
const LAYERS: &[(&str, &[&str])] = &[
    ("main", &["cli", "env"]),
    ("cli", &["ops", "lint", "export", "repo", "seal", "trust", "pki", "openpgp", "model", "secret", "disk", "env"]),
    ("ops", &["import", "lint", "export", "repo", "seal", "trust", "pki", "openpgp", "model", "secret", "disk", "env"]),
    // Reads what it is handed, and knows of no disk; the documents of others are `export`'s to read.
    ("import", &["export", "lint", "pki", "model", "secret"]),
    // Lays out and never writes: no disk, and nothing that could decide what is true.
    ("export", &["pki", "model", "secret"]),
    // Looks at what files say; without `secret` there is no type in which a key could come here.
    ("lint", &["pki", "model"]),
    // Sealed files stay opaque to whoever moves them.
    ("repo", &["trust", "model", "secret", "disk", "env"]),
    ("seal", &["pki", "openpgp", "model", "secret"]),
    ("trust", &["pki", "openpgp", "model"]),
    ("pki", &["model", "secret", "env"]),
    ("openpgp", &["model", "secret"]),
    ("disk", &["model", "secret", "env"]),
    ("env", &["model", "secret"]),
    ("model", &["secret"]),
    ("secret", &[]),
];

/// Crates that one module owns, by the name in `use`.
const OWNERS: &[(&str, &[&str])] = &[
    ("clap", &["cli"]),
    ("clap_complete", &["cli"]),
    ("clap_mangen", &["cli"]),
    ("comfy_table", &["cli"]),
    ("indicatif", &["cli"]),
    ("git2", &["repo"]),
    ("sequoia_openpgp", &["openpgp"]),
    ("age", &["seal"]),
    ("tar", &["export", "import"]),
    ("rcgen", &["pki"]),
    ("ring", &["pki"]),
    ("rsa", &["pki"]),
    ("p256", &["pki"]),
    ("p384", &["pki"]),
    ("p521", &["pki"]),
    ("ed25519_dalek", &["pki"]),
    ("x509_cert", &["pki"]),
    ("der", &["pki"]),
    ("toml", &["model", "trust", "repo"]),
    ("serde_yaml_ng", &["export"]),
    ("seccompiler", &["env"]),
    ("signal_hook", &["env"]),
    ("rpassword", &["env"]),
    ("getrandom", &["env"]),
];

struct Source {
    path: String,
    layer: String,
    /// Code lines alone: comments, and the unit tests below `#[cfg(test)]`, are left out.
    code: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

fn sources() -> Vec<Source> {
    let mut paths = Vec::new();
    files(&root(), &mut paths);
    paths.sort();
    let read = |path: PathBuf| {
        let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        let layer = name.split(['/', '.']).next().unwrap().to_owned();
        Source { layer, code: code(&fs::read_to_string(&path).unwrap()), path: name }
    };
    paths.into_iter().map(read).filter(|source| !is_test(&source.path)).collect()
}

/// Files that exist for tests alone.
fn is_test(path: &str) -> bool {
    ["tests.rs", "fixture.rs", "golden.rs", "sandbox.rs"].iter().any(|name| path.ends_with(&format!("/{name}")))
}

fn code(text: &str) -> String {
    let body = text.find("#[cfg(test)]\nmod tests {").map_or(text, |at| &text[..at]);
    body.lines().filter(|line| !line.trim_start().starts_with("//")).map(|line| format!("{line}\n")).collect()
}

/// The first words after `crate::` and within `crate::{…}`.
fn imports(code: &str) -> BTreeSet<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect::<String>();
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            None => drop(found.insert(word(rest))),
            Some(list) => {
                let (mut depth, mut start) = (0, 0);
                for (at, c) in list.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => {
                            found.insert(word(list[start..at].trim_start()));
                            break;
                        }
                        '}' => depth -= 1,
                        ',' if depth == 0 => {
                            found.insert(word(list[start..at].trim_start()));
                            start = at + 1;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    found.retain(|name| !name.is_empty());
    found
}

#[test]
fn nobody_imports_what_is_above_or_beside() {
    let layers: BTreeMap<&str, &[&str]> = LAYERS.iter().copied().collect();
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| source.layer != "lib") {
        let Some(allowed) = layers.get(source.layer.as_str()) else {
            wrong.push(format!("{} is in no layer of the table", source.path));
            continue;
        };
        let code = source.code.replace("kluis::", if source.layer == "main" { "crate::" } else { "kluis::" });
        for name in imports(&code) {
            let own = name == source.layer;
            let known = layers.contains_key(name.as_str());
            if !own && !allowed.contains(&name.as_str()) {
                wrong.push(format!("{} imports {name}{}", source.path, if known { "" } else { ", which is no layer" }));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_library_lists_exactly_the_layers_of_the_table() {
    let lib = fs::read_to_string(root().join("lib.rs")).unwrap();
    let listed: BTreeSet<&str> =
        lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    let table: BTreeSet<&str> = LAYERS.iter().map(|(name, _)| *name).filter(|name| *name != "main").collect();
    assert_eq!(listed, table);
}

#[test]
fn a_crate_is_named_by_its_owner_alone() {
    let mut wrong = Vec::new();
    for source in sources() {
        for (name, owners) in OWNERS {
            let named = source.code.match_indices(&format!("{name}::")).any(|(at, _)| {
                !source.code[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':')
            });
            let taken =
                source.code.contains(&format!("use {name} as")) || source.code.contains(&format!("use {name};"));
            if (named || taken) && !owners.contains(&source.layer.as_str()) {
                wrong.push(format!("{} names {name}, which belongs to {}", source.path, owners.join(", ")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The modules that a file declares: `mod name;`, also those that the list of commands makes.
fn declared(text: &str) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = text
        .lines()
        .filter_map(|line| {
            let line = line.trim();
            let line = line.strip_prefix("pub ").or_else(|| line.strip_prefix("pub(crate) ")).unwrap_or(line);
            line.strip_prefix("mod ")?.strip_suffix(';').map(str::to_owned)
        })
        .collect();
    if let Some(list) = text.split("\ncommands! {").nth(1) {
        let lines = list.lines().take_while(|line| *line != "}");
        names.extend(lines.filter_map(|line| line.trim().strip_suffix(',')?.split(' ').nth(1).map(str::to_owned)));
    }
    names
}

#[test]
fn every_source_file_is_part_of_the_program() {
    let mut waiting = vec![(root().join("lib.rs"), root())];
    let mut reached = BTreeSet::from([root().join("main.rs")]);
    while let Some((file, folder)) = waiting.pop() {
        for name in declared(&fs::read_to_string(&file).unwrap()) {
            let (flat, nested) = (folder.join(format!("{name}.rs")), folder.join(&name).join("mod.rs"));
            let next = if flat.exists() { flat } else { nested };
            assert!(next.exists(), "{} declares {name}, which is not there", file.display());
            waiting.push((next, folder.join(&name)));
        }
        reached.insert(file);
    }
    let mut all = Vec::new();
    files(&root(), &mut all);
    let forgotten: Vec<&PathBuf> = all.iter().filter(|file| !reached.contains(*file)).collect();
    assert!(forgotten.is_empty(), "no `mod` leads to {forgotten:?}");
}

#[test]
fn every_file_says_first_what_it_owns() {
    let mut all = Vec::new();
    files(&root(), &mut all);
    all.retain(|file| !is_test(file.to_str().unwrap()) && !fs::read_to_string(file).unwrap().starts_with("//! "));
    assert!(all.is_empty(), "no `//!` at the top of {all:?}");
}
