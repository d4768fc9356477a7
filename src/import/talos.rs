//! Talos: `secrets.yaml` (keys in lower case; as JSON in CamelCase) and machine configurations of version v1alpha1
//! (kubernetes-pki B.3). Values are base64 of PEM, in older ones with the alphabet for URLs.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use super::part::{Parts, Use};
use super::surroundings::version_of_image;
use super::{ImportError, Source};
use crate::export::yaml::Node;
use crate::model::{Cidr, Endpoint, Host, Keyset};
use crate::secret::Secret;

/// What is in base64, of either alphabet, padded or not.
pub(super) fn decoded(text: &str) -> Option<Secret> {
    let text = text.trim();
    for engine in [&STANDARD, &URL_SAFE, &STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
        let mut bytes = Zeroizing::new(vec![0; text.len() / 4 * 3 + 3]);
        if let Ok(length) = engine.decode_slice(text, &mut bytes) {
            bytes.truncate(length);
            return Some(Secret::from(bytes));
        }
    }
    None
}

/// The value of a key, whatever its case.
fn get<'a>(node: &'a Node, path: &[&str]) -> Option<&'a Node> {
    path.iter().try_fold(node, |node, name| {
        node.entries().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    })
}

/// A text that is not empty.
fn text<'a>(node: &'a Node, path: &[&str]) -> Option<&'a str> {
    get(node, path)?.as_text().filter(|text| !text.is_empty())
}

/// The one document that `is` this.
fn only<'a>(name: &str, documents: &'a [Node], key: &str) -> Result<&'a Node, ImportError> {
    let mut found = documents.iter().filter(|document| get(document, &[key]).is_some());
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => Err(ImportError::item(name, format!("it has no document with {key}"))),
        _ => Err(ImportError::item(name, "it is of several clusters or machines: hand over one")),
    }
}

/// Adds what is at `path` of the document as a part.
fn add(parts: &mut Parts, name: &str, node: &Node, path: &[&str], usage: Use) -> Result<bool, ImportError> {
    let Some(text) = text(node, path) else { return Ok(false) };
    let item = format!("{name}#{}", path.join("."));
    let bytes = decoded(text).ok_or_else(|| ImportError::item(&item, "it is not base64"))?;
    parts.add(item, usage, bytes);
    Ok(true)
}

/// A token, `[0-9a-z]{6}.[0-9a-z]{16}` (kubernetes-pki B.3).
fn add_token(
    parts: &mut Parts,
    name: &str,
    node: &Node,
    path: &[&str],
    token: &'static str,
) -> Result<bool, ImportError> {
    let Some(text) = text(node, path).map(str::trim) else { return Ok(false) };
    let item = format!("{name}#{}", path.join("."));
    let is_part =
        |part: &str, length| part.len() == length && part.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'z'));
    if !text.split_once('.').is_some_and(|(id, secret)| is_part(id, 6) && is_part(secret, 16)) {
        return Err(ImportError::item(
            &item,
            "it is no token: six and sixteen small letters and digits, with a dot between",
        ));
    }
    parts.add(item, Use::Token(token), Secret::new(text.as_bytes().to_vec()));
    Ok(true)
}

/// Encryption at rest: exactly one of the two keys.
fn encryption(
    parts: &mut Parts,
    name: &str,
    node: &Node,
    secretbox: &[&str],
    aescbc: &[&str],
) -> Result<(), ImportError> {
    let has_secretbox = add(parts, name, node, secretbox, Use::EncryptionKey)?;
    if text(node, aescbc).is_some() {
        if has_secretbox {
            return Err(ImportError::item(name, "it has a key for secretbox and one for aescbc, and Talos takes one"));
        }
        let why = "kluis keeps keys for secretbox alone: keep aescbc in the machine configuration as it is";
        parts.left(format!("{name}#{}", aescbc.join(".")), why);
    }
    Ok(())
}

/// `secrets.yaml`.
pub(super) fn secrets(name: &str, documents: &[Node]) -> Result<Parts, ImportError> {
    let document = only(name, documents, "certs")?;
    let mut parts = Parts::new(Source::TalosSecrets);
    for (keyset, at) in [
        (Keyset::Kubernetes, "k8s"),
        (Keyset::Etcd, "etcd"),
        (Keyset::FrontProxy, "k8saggregator"),
        (Keyset::Talos, "os"),
    ] {
        if !add(&mut parts, name, document, &["certs", at, "crt"], Use::Authority(keyset))? {
            return Err(ImportError::item(name, format!("it has no certificate certs.{at}.crt")));
        }
        if !add(&mut parts, name, document, &["certs", at, "key"], Use::AuthorityKey(keyset))? {
            return Err(ImportError::item(name, format!("it has no key certs.{at}.key: is it whole?")));
        }
    }
    if !add(&mut parts, name, document, &["certs", "k8sserviceaccount", "key"], Use::ServiceAccountKey)? {
        return Err(ImportError::item(name, "it has no key certs.k8sserviceaccount.key: is it whole?"));
    }
    let keys = [["secrets", "secretboxencryptionsecret"], ["secrets", "aescbcencryptionsecret"]];
    if keys.iter().all(|key| text(document, key).is_none()) {
        return Err(ImportError::item(name, "it has no key of encryption at rest: is it whole?"));
    }
    encryption(
        &mut parts,
        name,
        document,
        &["secrets", "secretboxencryptionsecret"],
        &["secrets", "aescbcencryptionsecret"],
    )?;
    let whole = [
        add_token(&mut parts, name, document, &["secrets", "bootstraptoken"], "bootstrap")?,
        add_token(&mut parts, name, document, &["trustdinfo", "token"], "trustd")?,
        add(&mut parts, name, document, &["cluster", "id"], Use::Token("cluster-id"))?,
        add(&mut parts, name, document, &["cluster", "secret"], Use::Token("cluster-secret"))?,
    ];
    if whole.contains(&false) {
        return Err(ImportError::item(
            name,
            "one of its tokens, or of id and secret of the cluster, is not there: is it whole?",
        ));
    }
    Ok(parts)
}

/// A machine configuration.
pub(super) fn config(name: &str, documents: &[Node]) -> Result<Parts, ImportError> {
    let document = only(name, documents, "machine")?;
    let mut parts = Parts::new(Source::TalosConfig);
    if let Some(kind) = text(document, &["machine", "type"])
        && !matches!(kind, "controlplane" | "init")
    {
        let why = "it is a worker's machine configuration, which has no keys of the cluster: hand over a control-plane node's";
        return Err(ImportError::item(name, why));
    }
    let others = documents.iter().filter_map(|document| text(document, &["kind"]));
    for kind in others {
        parts.left(format!("{name}#{kind}"), "a document of its own, which holds no key that is known");
    }
    for accepted in [["cluster", "acceptedCAs"], ["machine", "acceptedCAs"]] {
        if get(document, &accepted).is_some_and(|all| !all.items().is_empty()) {
            return Err(ImportError::Several {
                name: format!("{name}#{}", accepted.join(".")),
                count: 1 + get(document, &accepted).map_or(0, |all| all.items().len()),
                what: "CA certificates".to_owned(),
            });
        }
    }
    for (keyset, at) in [
        (Keyset::Kubernetes, &["cluster", "ca"][..]),
        (Keyset::Etcd, &["cluster", "etcd", "ca"]),
        (Keyset::FrontProxy, &["cluster", "aggregatorCA"]),
        (Keyset::Talos, &["machine", "ca"]),
    ] {
        if !add(&mut parts, name, document, &[at, &["crt"]].concat(), Use::Authority(keyset))? {
            return Err(ImportError::item(name, format!("it has no certificate {}.crt", at.join("."))));
        }
        add(&mut parts, name, document, &[at, &["key"]].concat(), Use::AuthorityKey(keyset))?;
    }
    add(&mut parts, name, document, &["cluster", "serviceAccount", "key"], Use::ServiceAccountKey)?;
    encryption(
        &mut parts,
        name,
        document,
        &["cluster", "secretboxEncryptionSecret"],
        &["cluster", "aescbcEncryptionSecret"],
    )?;
    add_token(&mut parts, name, document, &["cluster", "token"], "bootstrap")?;
    add_token(&mut parts, name, document, &["machine", "token"], "trustd")?;
    add(&mut parts, name, document, &["cluster", "id"], Use::Token("cluster-id"))?;
    add(&mut parts, name, document, &["cluster", "secret"], Use::Token("cluster-secret"))?;
    surroundings(&mut parts, name, document);
    Ok(parts)
}

fn surroundings(parts: &mut Parts, name: &str, document: &Node) {
    let endpoint = text(document, &["cluster", "controlPlane", "endpoint"]);
    if let Some(endpoint) = endpoint.filter(|endpoint| Endpoint::parse(endpoint).is_ok()) {
        parts.derived(format!("{name}#cluster.controlPlane.endpoint"), format!("endpoint {endpoint}"));
        parts.surroundings.endpoint = Some(endpoint.to_owned());
    }
    parts.surroundings.kubernetes = text(document, &["machine", "kubelet", "image"]).and_then(version_of_image);
    let domain = text(document, &["cluster", "network", "dnsDomain"]);
    parts.surroundings.dns_domain = domain.and_then(|domain| Host::parse(domain).ok());
    let subnets = get(document, &["cluster", "network", "serviceSubnets"]).map_or(&[][..], Node::items);
    parts.surroundings.service_cidrs =
        subnets.iter().filter_map(Node::as_text).filter_map(|range| Cidr::parse(range).ok()).collect();
    let served = get(document, &["cluster", "apiServer", "certSANs"]).map_or(&[][..], Node::items);
    parts.surroundings.served =
        served.iter().filter_map(Node::as_text).filter_map(|host| Host::parse(host).ok()).collect();
}
