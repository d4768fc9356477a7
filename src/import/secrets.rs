//! Secrets of Cluster API: `CLUSTER-ca`, `-etcd`, `-proxy` and `-sa` with `tls.crt` and `tls.key` (kubernetes-pki B.5), as a
//! stream of documents or a List, the way `kubectl get secret -o yaml` prints them.

use super::part::{Parts, Use};
use super::talos::decoded;
use super::{ImportError, Source};
use crate::export::yaml::Node;
use crate::model::{Keyset, displayed};
use crate::secret::Secret;

const PURPOSES: [(&str, Keyset); 4] = [
    ("-ca", Keyset::Kubernetes),
    ("-etcd", Keyset::Etcd),
    ("-proxy", Keyset::FrontProxy),
    ("-sa", Keyset::ServiceAccount),
];

/// The parts.
pub(super) fn parts(name: &str, documents: &[Node]) -> Result<Parts, ImportError> {
    let mut parts = Parts::new(Source::ClusterApi);
    let mut clusters: Vec<&str> = Vec::new();
    for document in documents {
        let listed = document.get("items").map_or(&[][..], Node::items);
        for secret in listed.iter().chain(listed.is_empty().then_some(document)) {
            take(&mut parts, name, secret, &mut clusters)?;
        }
    }
    match clusters.as_slice() {
        [] => Err(ImportError::item(name, "no Secret in it is a Cluster API cluster's: NAME-ca, -etcd, -proxy or -sa")),
        [_] => Ok(parts),
        several => {
            let names = displayed(&several.join(", "));
            Err(ImportError::item(
                name,
                format!("it has Secrets of several clusters ({names}): hand over those of one"),
            ))
        }
    }
}

fn take<'a>(parts: &mut Parts, file: &str, secret: &'a Node, clusters: &mut Vec<&'a str>) -> Result<(), ImportError> {
    if *secret == Node::Null {
        return Ok(());
    }
    let name = secret.get("metadata").and_then(|metadata| metadata.get("name")).and_then(Node::as_text);
    let name = name.ok_or_else(|| ImportError::item(file, "it has a document that is no Secret with a name"))?;
    let item = format!("{file}#{}", displayed(name));
    let purpose = PURPOSES.iter().find_map(|(end, keyset)| Some((name.strip_suffix(end)?, *keyset)));
    let is_secret = secret.get("kind").and_then(Node::as_text) == Some("Secret");
    let Some((cluster, keyset)) = purpose.filter(|(cluster, _)| is_secret && !cluster.is_empty()) else {
        parts.left(item, "no Secret of an authority or of service accounts");
        return Ok(());
    };
    if !clusters.contains(&cluster) {
        clusters.push(cluster);
    }
    let value = |key: &str| -> Result<Option<Secret>, ImportError> {
        let of = |map: &str| secret.get(map).and_then(|map| map.get(key)).and_then(Node::as_text);
        if let Some(text) = of("stringData") {
            return Ok(Some(Secret::new(text.as_bytes().to_vec())));
        }
        let fault = || ImportError::item(&item, format!("{key} is not base64"));
        of("data").filter(|text| !text.is_empty()).map(|text| decoded(text).ok_or_else(fault)).transpose()
    };
    let (public, private) = match keyset {
        Keyset::ServiceAccount => (Use::ServiceAccountPublic, Use::ServiceAccountKey),
        keyset => (Use::Authority(keyset), Use::AuthorityKey(keyset)),
    };
    let certificate = value("tls.crt")?.ok_or_else(|| ImportError::item(&item, "it has no tls.crt"))?;
    parts.add(&item, public, certificate);
    if let Some(key) = value("tls.key")? {
        parts.add(&item, private, key);
    }
    Ok(())
}
