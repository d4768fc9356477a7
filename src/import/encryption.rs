//! EncryptionConfigurations: what of them can be adopted. The name of a key is part of every ciphertext in etcd, and kluis
//! writes names of its own; so only its own form comes in, and any other stays where it is.

use super::ImportError;
use crate::export::outline::{self, Encrypted};
use crate::export::yaml::Node;
use crate::secret::Secret;

/// The name that the first generation has in an export.
const OWN_NAME: &str = "kluis-g1";

/// The key, or why the file stays where it is.
pub(super) enum Adopted {
    Key(Secret),
    Left(String),
}

/// Reads one.
pub(super) fn read(name: &str, bytes: &Secret) -> Result<Adopted, ImportError> {
    let fault = |error: String| ImportError::item(name, error);
    let entries = outline::encryption(bytes).map_err(|error| fault(error.to_string()))?;
    if let Some(why) = foreign(&entries) {
        return Ok(Adopted::Left(why));
    }
    let document =
        Node::read(bytes, super::LARGEST).map_err(|source| ImportError::Yaml { name: name.to_owned(), source })?;
    match key(&document).and_then(super::talos::decoded).filter(|key| key.len() == 32) {
        Some(key) => Ok(Adopted::Key(key)),
        None => Err(fault("its key is not 32 bytes in base64".to_owned())),
    }
}

fn key(document: &Node) -> Option<&str> {
    let first = document.get("resources")?.items().first()?;
    let secretbox = first.get("providers")?.items().first()?.get("secretbox")?;
    secretbox.get("keys")?.items().first()?.get("secret")?.as_text()
}

/// Why it is not what an export writes; `None` if it is.
fn foreign(entries: &[Encrypted]) -> Option<String> {
    let keeps = "keep this file on the nodes as it is; exports leave it alone";
    let [entry] = entries else {
        return Some(format!("it has {} entries, and an export has one: {keeps}", entries.len()));
    };
    let kinds: Vec<&str> = entry.providers.iter().map(|provider| provider.kind.as_str()).collect();
    let names: Vec<&str> = entry.providers.iter().flat_map(|one| &one.keys).map(|(name, _)| name.as_str()).collect();
    let resources: Vec<&str> = entry.resources.iter().map(String::as_str).collect();
    let is_own = kinds == ["secretbox", "identity"] && names == [OWN_NAME] && resources == ["secrets", "configmaps"];
    (!is_own).then(|| {
        format!(
            "the names of its keys ({}) and its provider ({}) are part of every secret in etcd, and exports write \
             secretbox under names of their own: {keeps}",
            crate::model::displayed(&names.join(", ")),
            crate::model::displayed(kinds.first().unwrap_or(&"none")),
        )
    })
}
