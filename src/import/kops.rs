//! A kops state store: `keyset.yaml` files as kops writes them, in a tree or one after the other (kubernetes-pki B.4).

use super::part::{Parts, Use};
use super::talos::decoded;
use super::{Files, ImportError, LARGEST, Source};
use crate::export::yaml::Node;
use crate::model::Keyset;

/// Whether a path is that of a keyset in a state store.
pub(super) fn is_keyset_path(path: &str) -> bool {
    path == "keyset.yaml" || path.ends_with("/keyset.yaml")
}

/// What a keyset of kops is here. Others are kops' own, or of an etcd beside the main one.
fn keyset(name: &str) -> Option<Keyset> {
    match name {
        "kubernetes-ca" => Some(Keyset::Kubernetes),
        "apiserver-aggregator-ca" => Some(Keyset::FrontProxy),
        "etcd-clients-ca" => Some(Keyset::Etcd),
        "etcd-peers-ca-main" => Some(Keyset::EtcdPeer),
        "service-account" => Some(Keyset::ServiceAccount),
        _ => None,
    }
}

/// A tree of files.
pub(super) fn folder(files: Files) -> Result<Parts, ImportError> {
    let mut parts = Parts::new(Source::Kops);
    let mut seen: Vec<String> = Vec::new();
    for (path, what) in files.others {
        parts.left(path, format!("it is {what}"));
    }
    for file in files.files {
        if !is_keyset_path(&file.path) {
            parts.left(file.path, "no keyset of kops");
            continue;
        }
        let documents = Node::read_stream(&file.bytes, LARGEST);
        let documents = documents.map_err(|source| ImportError::Yaml { name: file.path.clone(), source })?;
        for document in &documents {
            take(&mut parts, &file.path, document, &mut seen)?;
        }
    }
    Ok(parts)
}

/// Keysets one after the other.
pub(super) fn documents(name: &str, documents: &[Node]) -> Result<Parts, ImportError> {
    let mut parts = Parts::new(Source::Kops);
    let mut seen: Vec<String> = Vec::new();
    for document in documents {
        take(&mut parts, name, document, &mut seen)?;
    }
    Ok(parts)
}

fn text<'a>(node: &'a Node, path: &[&str]) -> Option<&'a str> {
    path.iter().try_fold(node, |node, name| node.get(name))?.as_text()
}

fn take(parts: &mut Parts, path: &str, document: &Node, seen: &mut Vec<String>) -> Result<(), ImportError> {
    if *document == Node::Null {
        return Ok(());
    }
    let missing = |what: &str| ImportError::item(path, format!("it is a keyset without {what}"));
    if text(document, &["kind"]) != Some("Keyset") {
        return Err(ImportError::item(path, "it is no Keyset of kops"));
    }
    let name = text(document, &["metadata", "name"]).ok_or_else(|| missing("a name"))?;
    let item = format!("{path}#{name}");
    if seen.iter().any(|known| known == name) {
        return Err(ImportError::item(&item, "the keyset is there twice: the stores of two clusters are no one's"));
    }
    seen.push(name.to_owned());
    let Some(keyset) = keyset(name) else {
        parts.left(item, "kluis has no such keyset: kops goes on with it as it is");
        return Ok(());
    };
    let primary = text(document, &["spec", "primaryId"]).ok_or_else(|| missing("a primaryId"))?;
    let keys = document.get("spec").and_then(|spec| spec.get("keys")).map_or(&[][..], Node::items);
    let mut has_primary = false;
    for key in keys {
        let id = text(key, &["id"]).ok_or_else(|| missing("the id of a key"))?;
        let item = format!("{item}/{}", crate::model::displayed(id));
        if text(key, &["distrustTimestamp"]).is_some() {
            parts.left(item, "distrusted");
            continue;
        }
        let is_primary = id == primary;
        has_primary |= is_primary;
        let part = |at: &str| {
            let text = text(key, &[at]).filter(|text| !text.is_empty());
            text.map(|text| decoded(text).ok_or_else(|| ImportError::item(&item, format!("{at} is not base64"))))
                .transpose()
        };
        let public = part("publicMaterial")?.ok_or_else(|| ImportError::item(&item, "it has no publicMaterial"))?;
        match keyset {
            Keyset::ServiceAccount => parts.add(&item, Use::ServiceAccountPublic, public),
            keyset => parts.add(&item, Use::Authority(keyset), public),
        }
        // What does not issue is trusted without its key.
        if let (true, Some(private)) = (is_primary, part("privateMaterial")?) {
            match keyset {
                Keyset::ServiceAccount => parts.add(&item, Use::ServiceAccountKey, private),
                keyset => parts.add(&item, Use::AuthorityKey(keyset), private),
            }
        }
    }
    match has_primary {
        true => Ok(()),
        false => Err(ImportError::item(&item, "its primaryId is none of its trusted keys")),
    }
}
