//! Rules on encryption at rest: EN001 to EN004.

use std::collections::BTreeSet;

use super::subject::{Content, Encrypted, File, Scene};
use super::{Check, Hit, Rule, hit, when};
use crate::model::Level;

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "EN001",
        title: "a key for encryption at rest of a length that its provider does not take",
        why: "the API server does not start",
        source: "kube-apiserver, EncryptionConfiguration validation",
        remedy: "use 32 random octets in base64: openssl rand -base64 32",
        severity: Level::Error,
        imported: None,
        check: Check::File(bad_length),
    },
    Rule {
        id: "EN002",
        title: "secrets that are written to etcd in the clear",
        why: "identity is the provider that writes: whoever reads etcd or a snapshot reads the secrets",
        source: "Kubernetes, encrypting confidential data at rest: the first provider writes",
        remedy: "put secretbox first and identity last, restart, and write all secrets again",
        severity: Level::Error,
        imported: None,
        check: Check::File(|file, _| {
            let first = entries(file).iter().find(|entry| is_for_secrets(&entry.resources))?.providers.first();
            when(first.is_none_or(|one| one.kind == "identity"), "identity comes first for secrets")
        }),
    },
    Rule {
        id: "EN003",
        title: "aescbc or aesgcm as the provider that writes",
        why: "aescbc has a padding oracle; an aesgcm key is good for 200 000 writes",
        source: "Kubernetes, encrypting confidential data at rest: providers",
        remedy: "use secretbox, or KMS v2",
        severity: Level::Attention,
        imported: None,
        check: Check::File(|file, _| {
            let first = entries(file).iter().filter_map(|entry| entry.providers.first());
            let weak = first.map(|one| one.kind.as_str()).find(|kind| matches!(*kind, "aescbc" | "aesgcm"))?;
            Some(hit(format!("{weak} writes")))
        }),
    },
    Rule {
        id: "EN004",
        title: "one name for two keys of encryption at rest",
        why: "the name is all that etcd has of the key: what the other one wrote can't be read",
        source: "Kubernetes, k8s:enc:PROVIDER:v1:NAME in etcd",
        remedy: "give each key a name of its own, for ever",
        severity: Level::Error,
        imported: None,
        check: Check::File(same_name),
    },
];

fn entries(file: &File) -> &[Encrypted] {
    match &file.content {
        Content::Encryption(entries) => entries,
        _ => &[],
    }
}

fn is_for_secrets(resources: &[String]) -> bool {
    resources.iter().any(|resource| matches!(resource.as_str(), "secrets" | "*." | "*.*"))
}

fn bad_length(file: &File, _: &Scene) -> Option<Hit> {
    let providers = entries(file).iter().flat_map(|entry| &entry.providers);
    providers.flat_map(|provider| provider.keys.iter().map(move |key| (provider, key))).find_map(|(provider, key)| {
        let (name, length) = key;
        let fits = match (provider.kind.as_str(), length) {
            ("secretbox", Some(32)) | ("aescbc" | "aesgcm", Some(16 | 24 | 32)) => true,
            ("secretbox" | "aescbc" | "aesgcm", _) => false,
            _ => true,
        };
        let what = length.map_or("is no base64".to_owned(), |length| format!("has {length} octets"));
        when(!fits, format!("the key {name} of {} {what}", provider.kind))
    })
}

fn same_name(file: &File, _: &Scene) -> Option<Hit> {
    entries(file).iter().find_map(|entry| {
        let mut known = BTreeSet::new();
        entry.providers.iter().flat_map(|one| one.keys.iter().map(move |key| (&one.kind, key))).find_map(
            |(kind, key)| {
                let twice = !known.insert((kind, &key.0));
                when(twice, format!("the key name {} stands twice", key.0))
            },
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lint::{Provider, What};
    use crate::model::Time;

    type Given<'a> = (&'a str, &'a [(&'a str, Option<usize>)]);

    fn found(providers: &[Given<'_>]) -> Vec<&'static str> {
        let provider = |(kind, keys): &Given<'_>| Provider {
            kind: (*kind).to_owned(),
            keys: keys.iter().map(|(name, length)| ((*name).to_owned(), *length)).collect(),
        };
        let mut file = File::new("x.yaml", "x.yaml", What::Other);
        let providers = providers.iter().map(provider).collect();
        let entry = Encrypted { resources: vec!["secrets".to_owned()], providers };
        file.content = Content::Encryption(vec![entry]);
        let scene = Scene::new(".", None, Time::from_unix(0));
        let broken = |rule: &&Rule| matches!(rule.check, Check::File(check) if check(&file, &scene).is_some());
        RULES.iter().filter(broken).map(|rule| rule.id).collect()
    }

    #[test]
    fn each_rule_finds_its_fault_alone() {
        let good: &[(&str, Option<usize>)] = &[("key1", Some(32))];
        let none = Vec::<&str>::new();
        assert_eq!(found(&[("secretbox", good), ("identity", &[])]), none);
        assert_eq!(found(&[("identity", &[]), ("secretbox", good)]), ["EN002"]);
        assert_eq!(found(&[("identity", &[])]), ["EN002"]);
        assert_eq!(found(&[("secretbox", &[("key1", Some(16))])]), ["EN001"]);
        assert_eq!(found(&[("secretbox", &[("key1", None)])]), ["EN001"]);
        assert_eq!(found(&[("aescbc", good)]), ["EN003"]);
        assert_eq!(found(&[("secretbox", good), ("aescbc", good)]), none);
        assert_eq!(found(&[("secretbox", &[("key1", Some(32)), ("key1", Some(32))])]), ["EN004"]);
    }
}
