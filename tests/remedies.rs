//! Advice that can be followed: every remedy that names a kluis command is a line that the real grammar takes.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use kluis::model::{ClusterName, NodeName, PersonName, Remedy};

/// One of each. The match below makes a new variant fail to compile until it stands here.
fn every_remedy() -> Vec<Remedy> {
    let cluster = ClusterName::parse("prod").unwrap();
    let person = PersonName::parse("alice").unwrap();
    let node = NodeName::parse("cp-1").unwrap();
    let known = |remedy: &Remedy| match remedy {
        Remedy::GitRestore(_)
        | Remedy::GitStatus
        | Remedy::GitInit
        | Remedy::GitIdentity
        | Remedy::Init
        | Remedy::TrustSign
        | Remedy::TrustCompare
        | Remedy::TrustPin
        | Remedy::Reseal(_)
        | Remedy::Choose(_)
        | Remedy::Settle(_)
        | Remedy::Adopt(_)
        | Remedy::PersonUpdate(_)
        | Remedy::ClusterApply(_)
        | Remedy::CertIssue(..)
        | Remedy::TrustExpires
        | Remedy::Doctor
        | Remedy::Passphrase
        | Remedy::As(_)
        | Remedy::Verify
        | Remedy::PersonList
        | Remedy::ClusterList
        | Remedy::Upgrade
        | Remedy::Kluis(_)
        | Remedy::Run(_) => true,
    };
    let remedies = vec![
        Remedy::GitRestore("clusters/prod/cluster.toml".to_owned()),
        Remedy::GitStatus,
        Remedy::GitInit,
        Remedy::GitIdentity,
        Remedy::Init,
        Remedy::TrustSign,
        Remedy::TrustCompare,
        Remedy::TrustPin,
        Remedy::Reseal(None),
        Remedy::Reseal(Some(cluster.clone())),
        Remedy::Choose(cluster.clone()),
        Remedy::Settle(cluster.clone()),
        Remedy::Adopt("0123456789abcdef".to_owned()),
        Remedy::PersonUpdate(person.clone()),
        Remedy::ClusterApply(cluster.clone()),
        Remedy::CertIssue(cluster, node),
        Remedy::TrustExpires,
        Remedy::Doctor,
        Remedy::Passphrase,
        Remedy::As(person),
        Remedy::Verify,
        Remedy::PersonList,
        Remedy::ClusterList,
        Remedy::Upgrade,
    ];
    assert!(remedies.iter().all(known));
    remedies
}

/// A command line as a shell would split it. Advice has no other quoting than double quotes. For NAME, which the
/// reader fills in, stands a name.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(std::mem::take(&mut word)),
            c => word.push(c),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words.retain(|word| !word.contains('<')); // the shell's business
    let filled = |word: String| match word.as_str() {
        "NAME" => "alice".to_owned(),
        "COMMAND" => "status".to_owned(),
        _ => word,
    };
    words.into_iter().map(filled).collect()
}

#[track_caller]
fn takes(line: &str) {
    let parsed = kluis::cli::grammar().try_get_matches_from(words(line));
    if let Some(error) = parsed.err().filter(clap::Error::use_stderr) {
        panic!("{line}\n{error}");
    }
}

#[test]
fn every_remedy_is_a_command_that_there_is() {
    for remedy in every_remedy() {
        let line = remedy.to_string();
        assert!(!line.is_empty() && !line.contains('\n'));
        if line.starts_with("kluis ") {
            takes(&line);
        }
    }
}

/// Lines of `Remedy::Kluis("…")` in the source, with example values for what is filled in.
#[test]
fn every_line_of_advice_in_the_source_is_a_command_that_there_is() {
    let mut found = 0;
    let mut folders = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            for rest in text.split("Remedy::Kluis(").skip(1) {
                let rest = rest.trim_start().trim_start_matches("format!(").trim_start();
                let Some(line) = rest.strip_prefix('"').and_then(|rest| rest.split('"').next()) else { continue };
                takes(&format!("kluis {}", filled(line)));
                found += 1;
            }
        }
    }
    assert!(found > 3, "the advice in the source was not found");
}

/// Fills `{name}` and `{}` by something that fits its name.
fn filled(line: &str) -> String {
    let mut filled = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').unwrap();
        let value = match name {
            name if name.contains("layout") => "kubeadm",
            name if name.contains("node") => "cp-1",
            name if name.contains("keyset") => "encryption",
            name if name.contains("person") => "alice",
            name if name.contains("number") => "2",
            name if name.contains("profile") => "apiserver",
            _ => "prod",
        };
        filled = filled + before + value;
        rest = after;
    }
    filled + rest
}
