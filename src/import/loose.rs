//! PEM and DER files without a layout, one after the other or in a folder: told apart by what their certificates say and by
//! their names. Who can't be told stays out, and a key that belongs to nobody is refused.

use super::part::{Parts, Use};
use super::{Files, ImportError, Source, surroundings};
use crate::lint::{Layout, What};
use crate::model::{Distribution, Keyset, Profile, displayed};
use crate::pki::{self, Given, PrivateKey, Seen};
use crate::secret::Secret;

/// A certificate, where it was found.
struct Certificate {
    name: String,
    der: Vec<u8>,
    seen: Seen,
    usage: Option<Use>,
}

/// The parts.
pub(super) fn parts(files: Files, distribution: Distribution) -> Result<Parts, ImportError> {
    let mut parts = Parts::new(Source::Pem);
    let (mut certificates, mut keys, mut publics) = (Vec::new(), Vec::new(), Vec::new());
    for (path, what) in files.others {
        parts.left(path, format!("it is {what}"));
    }
    for file in files.files {
        let has = |word: &[u8]| file.bytes.expose().windows(word.len()).any(|window| window == word);
        let has_blocks = has(b"-----BEGIN ");
        if !has_blocks && has(b"clusters") && has(b"users") && has(b"server") {
            surroundings::kubeconfig(&mut parts, file, "admin.conf")?;
            continue;
        }
        if surroundings::is_encryption(&file) {
            parts.file(file, Use::EncryptionConfig);
            continue;
        }
        let given = Given::read(&file.bytes).map_err(|error| ImportError::given(&file.path, error))?;
        if given.is_empty() {
            parts.left(file.path, "no certificate and no key is in it");
            continue;
        }
        for der in given.certificates {
            let seen = Seen::read(&der).map_err(|why| ImportError::item(&file.path, why))?;
            let usage = use_of(&file.path, &seen, distribution);
            certificates.push(Certificate { name: file.path.clone(), der, seen, usage });
        }
        keys.extend(given.keys.into_iter().map(|key| (file.path.clone(), key)));
        publics.extend(given.public_keys.into_iter().map(|key| (file.path.clone(), key)));
    }
    place_keys(&mut parts, &certificates, keys, &publics)?;
    for one in certificates {
        match one.usage {
            Some(usage) => parts.add(one.name, usage, Secret::new(pki::certificate_pem(&one.der))),
            None if one.seen.is_ca() => parts.left(
                one.name,
                format!("the authority {} is of no keyset that can be told", displayed(&subject(&one.seen))),
            ),
            None => parts.left(one.name, format!("{}: whose it is can't be told", displayed(&subject(&one.seen)))),
        }
    }
    for (name, spki) in publics {
        parts.add(name, Use::ServiceAccountPublic, Secret::new(pki::public_pem(&spki)));
    }
    Ok(parts)
}

/// Gives each key to the certificate or public key that it fits.
fn place_keys(
    parts: &mut Parts,
    certificates: &[Certificate],
    keys: Vec<(String, PrivateKey)>,
    publics: &[(String, Vec<u8>)],
) -> Result<(), ImportError> {
    let mut homeless = Vec::new();
    for (name, key) in keys {
        let owner = certificates.iter().filter(|one| one.seen.spki == key.spki());
        let owner = owner.max_by_key(|one| one.usage.is_some());
        let usage = match owner {
            Some(Certificate { usage: Some(Use::Authority(keyset)), .. }) => Use::AuthorityKey(*keyset),
            Some(Certificate { usage: Some(Use::Leaf(profile)), .. }) => Use::LeafKey(*profile),
            Some(one) if one.seen.is_ca() => {
                let why = format!(
                    "its authority {} is of no keyset that can be told: name the file after the keyset, as kubernetes.crt",
                    displayed(&subject(&one.seen))
                );
                return Err(ImportError::item(&name, why));
            }
            Some(_) => {
                parts.left(name, "the key of a leaf certificate, whose node can't be told");
                continue;
            }
            None if publics.iter().any(|(_, public)| *public == key.spki()) => Use::ServiceAccountKey,
            None if matches!(stem(&name), "sa" | "service" | "service-account") => Use::ServiceAccountKey,
            None => {
                homeless.push((name, key));
                continue;
            }
        };
        parts.add(name, usage, key.to_pkcs8_pem());
    }
    // In one text, where no key has a name, the service-account key is the only one without a certificate: that of the main
    // CA has its certificate beside it. In files each key has a name, and one that says something else is no such key.
    let has_key = |one: &Certificate| match one.usage {
        Some(Use::Authority(keyset)) => parts.parts.iter().any(|part| part.usage == Use::AuthorityKey(keyset)),
        _ => true,
    };
    let complete = !certificates.is_empty() && certificates.iter().all(has_key);
    let no_signer = publics.is_empty() && parts.parts.iter().all(|part| part.usage != Use::ServiceAccountKey);
    let has_main = parts.parts.iter().any(|part| part.usage == Use::AuthorityKey(Keyset::Kubernetes));
    let last = homeless.pop();
    let one_text = last.as_ref().is_some_and(|(name, _)| certificates.iter().all(|one| one.name == *name));
    match (last, homeless.is_empty() && complete && no_signer && has_main && one_text) {
        (None, _) => Ok(()),
        (Some((name, key)), true) => {
            parts.add(name, Use::ServiceAccountKey, key.to_pkcs8_pem());
            Ok(())
        }
        (Some((name, _)), false) => Err(ImportError::Misfit { name, of: "the certificates beside it".to_owned() }),
    }
}

fn subject(seen: &Seen) -> String {
    let names = seen.common_names.iter().map(|name| format!("CN={name}"));
    let names: Vec<String> = names.chain(seen.organizations.iter().map(|name| format!("O={name}"))).collect();
    if names.is_empty() { "without a name".to_owned() } else { names.join(",") }
}

fn stem(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

/// What a certificate is for: by its file's name, else by its subject.
fn use_of(path: &str, seen: &Seen, distribution: Distribution) -> Option<Use> {
    let stem = stem(path);
    if !seen.is_ca() {
        return Profile::parse(stem).filter(|profile| !profile.is_person()).map(Use::Leaf);
    }
    let named = Keyset::parse(stem.strip_suffix("-signing").unwrap_or(stem)).filter(|keyset| keyset.is_ca());
    named.or_else(|| by_place(path, distribution)).or_else(|| by_subject(seen, distribution)).map(Use::Authority)
}

fn by_place(path: &str, distribution: Distribution) -> Option<Keyset> {
    let layout = match distribution {
        Distribution::K3s | Distribution::Rke2 => Layout::K3s,
        Distribution::K0s => Layout::K0s,
        _ => Layout::Kubeadm,
    };
    let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
    let etcd = (above == "etcd" || above.ends_with("/etcd")).then(|| format!("etcd/{name}"));
    What::at(layout, etcd.as_deref().unwrap_or(name)).authority()
}

/// The names that distributions and kluis give their authorities (kubernetes-pki A.1, B).
fn by_subject(seen: &Seen, distribution: Distribution) -> Option<Keyset> {
    let name = seen.common_names.first().map(String::as_str).unwrap_or_default();
    // kluis: `etcd-ca-g2`; k3s and RKE2: `k3s-server-ca@1700000000`.
    let own = name.rsplit_once("-ca-g").filter(|(_, number)| number.bytes().all(|c| c.is_ascii_digit()));
    if let Some(keyset) = own.and_then(|(keyset, _)| Keyset::parse(keyset)).filter(|keyset| keyset.is_ca()) {
        return Some(keyset);
    }
    let of_k3s = name.split_once('@').map(|(name, _)| name);
    let of_k3s = of_k3s.and_then(|name| name.strip_prefix("k3s-").or_else(|| name.strip_prefix("rke2-")));
    let is_talos = distribution == Distribution::Talos;
    match (of_k3s.unwrap_or(name), seen.organizations.first().map(String::as_str)) {
        ("client-ca", _) if of_k3s.is_some() => Some(Keyset::KubernetesClient),
        ("server-ca", _) if of_k3s.is_some() => Some(Keyset::Kubernetes),
        ("request-header-ca", _) if of_k3s.is_some() => Some(Keyset::FrontProxy),
        ("etcd-server-ca", _) if of_k3s.is_some() => Some(Keyset::Etcd),
        ("etcd-peer-ca", _) if of_k3s.is_some() => Some(Keyset::EtcdPeer),
        ("kubernetes" | "kubernetes-ca", _) => Some(Keyset::Kubernetes),
        ("etcd-ca", _) => Some(Keyset::Etcd),
        ("front-proxy-ca" | "kubernetes-front-proxy-ca", _) => Some(Keyset::FrontProxy),
        ("", Some("kubernetes")) => Some(Keyset::Kubernetes),
        ("", Some("etcd")) => Some(Keyset::Etcd),
        ("", Some("talos")) => Some(Keyset::Talos),
        ("", None) if is_talos => Some(Keyset::FrontProxy),
        _ => None,
    }
}
