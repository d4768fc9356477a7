//! From parts to what is found: which key is which certificate's, which certificate issues, and what is too much or too little
//! to be adopted without a change to what runs.

use std::collections::{BTreeMap, BTreeSet};

use super::encryption::{self, Adopted};
use super::part::{Part, Parts, Use};
use super::{Authority, Found, ImportError, Leaf, ServiceAccount, surroundings};
use crate::model::{Keyset, Profile, Time};
use crate::pki::{self, Facts, Given, PrivateKey, Seen};
use crate::secret::Secret;

/// What a keyset is put together from.
#[derive(Default)]
struct Gathered {
    certificates: Vec<(String, Vec<u8>)>,
    signing: Vec<Vec<u8>>,
    keys: Vec<(String, PrivateKey)>,
    publics: Vec<(String, Vec<u8>)>,
}

/// Puts together what belongs together.
pub(super) fn assemble(parts: Parts, now: Time) -> Result<Found, ImportError> {
    let mut found = Found {
        source: parts.source,
        authorities: BTreeMap::new(),
        service_account: None,
        encryption: None,
        tokens: BTreeMap::new(),
        leaves: BTreeMap::new(),
        surroundings: parts.surroundings,
        items: parts.items,
    };
    let mut keysets: BTreeMap<Keyset, Gathered> = BTreeMap::new();
    let mut leaves: BTreeMap<Profile, Gathered> = BTreeMap::new();
    for part in parts.parts {
        match part.usage {
            Use::Authority(keyset) | Use::Signing(keyset) | Use::AuthorityKey(keyset) => {
                gather(keysets.entry(keyset).or_default(), &part)?;
            }
            Use::ServiceAccountKey | Use::ServiceAccountPublic => {
                gather(keysets.entry(Keyset::ServiceAccount).or_default(), &part)?;
            }
            Use::Leaf(profile) | Use::LeafKey(profile) => gather(leaves.entry(profile).or_default(), &part)?,
            Use::EncryptionConfig => match encryption::read(&part.name, &part.bytes)? {
                Adopted::Key(key) => take_encryption(&mut found, &part.name, key)?,
                Adopted::Left(why) => found.left(&part.name, why),
            },
            Use::EncryptionKey => take_encryption(&mut found, &part.name, part.bytes)?,
            Use::Token(token) => take_token(&mut found, token, &part.name, part.bytes)?,
        }
    }
    for (keyset, gathered) in keysets {
        match keyset {
            Keyset::ServiceAccount => service_account(&mut found, gathered)?,
            keyset => authority(&mut found, keyset, gathered, now)?,
        }
    }
    if found.authorities.is_empty() {
        return Err(ImportError::Nothing("there is no certificate of an authority of a cluster in it".to_owned()));
    }
    let has_key = found.authorities.values().any(|authority| authority.key.is_some());
    if !has_key && found.service_account.as_ref().is_none_or(|one| one.key.is_none()) {
        let why = "there is no private key in it: a worker's files, or those of a node whose keys are kept elsewhere";
        return Err(ImportError::Nothing(why.to_owned()));
    }
    leave_shared_peers(&mut found);
    check_shared(&found)?;
    for (profile, gathered) in leaves {
        leaf(&mut found, profile, gathered)?;
    }
    Ok(found)
}

/// Reads a part; strictly, whatever becomes of it.
fn gather(into: &mut Gathered, part: &Part) -> Result<(), ImportError> {
    let given = Given::read(&part.bytes).map_err(|error| ImportError::given(&part.name, error))?;
    if given.is_empty() {
        return Err(ImportError::item(&part.name, "no certificate and no key is in it"));
    }
    let name = &part.name;
    match part.usage {
        Use::Signing(_) => into.signing.extend(given.certificates),
        Use::ServiceAccountPublic => {
            for der in given.certificates {
                let seen = Seen::read(&der).map_err(|why| ImportError::item(name, why))?;
                into.publics.push((name.clone(), seen.spki));
            }
        }
        _ => into.certificates.extend(given.certificates.into_iter().map(|der| (name.clone(), der))),
    }
    into.keys.extend(given.keys.into_iter().map(|key| (name.clone(), key)));
    into.publics.extend(given.public_keys.into_iter().map(|key| (name.clone(), key)));
    Ok(())
}

fn take_encryption(found: &mut Found, name: &str, key: Secret) -> Result<(), ImportError> {
    if key.len() != 32 {
        return Err(ImportError::item(name, "a key of encryption at rest has 32 bytes"));
    }
    if found.encryption.is_some() {
        return Err(ImportError::item(name, "there is another key of encryption at rest beside it"));
    }
    found.encryption = Some(key);
    found.taken(name, "encryption");
    Ok(())
}

fn take_token(found: &mut Found, token: &str, name: &str, bytes: Secret) -> Result<(), ImportError> {
    if bytes.is_empty() || found.tokens.insert(token.to_owned(), bytes).is_some() {
        return Err(ImportError::item(name, format!("the token {token} is empty, or there twice")));
    }
    found.taken(name, format!("tokens: {token}"));
    Ok(())
}

fn authority(found: &mut Found, keyset: Keyset, gathered: Gathered, now: Time) -> Result<(), ImportError> {
    let Gathered { certificates, signing, keys, .. } = gathered;
    let mut known = BTreeSet::new();
    let certificates: Vec<_> = certificates.into_iter().filter(|(_, der)| known.insert(der.clone())).collect();
    let Some((first_name, _)) = certificates.first() else {
        let name = keys.first().map_or_else(|| keyset.to_string(), |(name, _)| name.clone());
        return Err(ImportError::item(&name, format!("a key of {keyset}, and no certificate beside it")));
    };
    let first_name = first_name.clone();
    let mut judged = Vec::new();
    for (name, der) in certificates {
        let facts = pki::adoptable_authority(&der).map_err(|why| ImportError::item(&name, why))?;
        judged.push((name, der, facts));
    }
    let fits = |key: &PrivateKey| judged.iter().position(|(_, _, facts)| facts.spki == key.spki());
    if let Some((name, _)) = keys.iter().find(|(_, key)| fits(key).is_none()) {
        return Err(ImportError::Misfit { name: name.clone(), of: format!("the certificates in {first_name}") });
    }
    let signs = signing.first().and_then(|der| judged.iter().position(|(_, known, _)| known == der));
    let issuing = signs.or_else(|| keys.iter().find_map(|(_, key)| fits(key))).unwrap_or(0);
    let key = keys.into_iter().find(|(_, key)| fits(key) == Some(issuing));
    let issuer = judged.swap_remove(issuing);
    let (ended, trusted): (Vec<_>, Vec<_>) = judged.into_iter().partition(|(_, _, facts)| facts.not_after < now);
    for (name, _, facts) in ended {
        found.left(&format!("{name}#{}", facts.sha256.h16()), format!("{:?} ended {}", facts.subject, facts.not_after));
    }
    let (_, _, own) = &issuer;
    if let Some((name, ..)) =
        trusted.iter().find(|(_, _, above)| above.subject_dn == own.issuer_dn && own.subject_dn != own.issuer_dn)
    {
        let why = format!(
            "the CA {} is below the one here. Certificates of kluis have no chain, so whoever knows the upper one alone would refuse \
             them: rotate to a CA that is its own root first, then adopt",
            crate::model::displayed(&own.subject)
        );
        return Err(ImportError::item(name, why));
    }
    if !trusted.is_empty() {
        return Err(ImportError::Several {
            name: first_name,
            count: trusted.len() + 1,
            what: format!("CA certificates ({keyset})"),
        });
    }
    let (name, certificate, facts) = issuer;
    let shown = if facts.subject.is_empty() { "an empty subject" } else { facts.subject.as_str() };
    let state = if facts.not_after < now { "ended" } else { "until" };
    found.taken(&name, format!("{keyset} g1: {shown}, {state} {}", facts.not_after));
    match &key {
        Some((from, _)) if *from == name => {}
        Some((from, _)) => found.taken(from, format!("{keyset} g1: its key")),
        None => found.left(
            &format!("{name}#key"),
            format!(
                "no key of {keyset} is here: kluis trusts this authority and can't issue from it until it is rotated"
            ),
        ),
    }
    found.authorities.insert(keyset, Authority { certificate, key: key.map(|(_, key)| key) });
    Ok(())
}

fn service_account(found: &mut Found, gathered: Gathered) -> Result<(), ImportError> {
    let Gathered { certificates, keys, publics, .. } = gathered;
    if let Some((name, _)) = certificates.first() {
        return Err(ImportError::item(name, "a certificate where the private key of service accounts should be"));
    }
    let mut known: Vec<Vec<u8>> = keys.iter().map(|(_, key)| key.spki()).collect();
    if let (Some((name, _)), Some((of, _))) = (keys.first(), publics.first())
        && publics.iter().all(|(_, public)| *public != known[0])
    {
        return Err(ImportError::Misfit { name: name.clone(), of: format!("the public keys in {of}") });
    }
    known.extend(publics.iter().map(|(_, public)| public.clone()));
    let distinct: BTreeSet<&Vec<u8>> = known.iter().collect();
    let name = keys.first().or(None).map(|(name, _)| name.clone());
    let name = name.or_else(|| publics.first().map(|(name, _)| name.clone())).unwrap_or_default();
    if distinct.len() > 1 {
        let what = "service-account keys".to_owned();
        return Err(ImportError::Several { name, count: distinct.len(), what });
    }
    let Some(public) = known.into_iter().next() else { return Ok(()) };
    pki::service_account_public(&pki::public_pem(&public))
        .map_err(|error| ImportError::item(&name, error.to_string()))?;
    found.taken(&name, "service-account g1");
    for (from, _) in publics.iter().filter(|(from, _)| *from != name) {
        found.taken(from, "service-account g1: its public half");
    }
    let key = keys.into_iter().next().map(|(_, key)| key);
    if key.is_none() {
        found.left(&format!("{name}#key"), "no private key of service accounts is here: tokens are signed elsewhere");
    }
    found.service_account = Some(ServiceAccount { public, key });
    Ok(())
}

/// A store of kops has a keyset for etcd's peers whether or not they have an authority of their own. Where it is the same
/// certificate, one keyset says it all.
fn leave_shared_peers(found: &mut Found) {
    let certificate = |keyset| found.authorities.get(&keyset).map(|authority| authority.certificate.as_slice());
    let same = certificate(Keyset::Etcd).is_some() && certificate(Keyset::Etcd) == certificate(Keyset::EtcdPeer);
    if found.source == super::Source::Kops && same {
        found.authorities.remove(&Keyset::EtcdPeer);
        let is_peers = |item: &super::Item| item.name.contains("etcd-peers-ca-main");
        for item in found.items.iter_mut().filter(|item| is_peers(item)) {
            item.outcome = super::Outcome::Left;
            "the same authority as etcd-clients-ca".clone_into(&mut item.what);
        }
    }
}

/// No key belongs to two keysets (FORMAT 3).
fn check_shared(found: &Found) -> Result<(), ImportError> {
    let mut seen: BTreeMap<Vec<u8>, Keyset> = BTreeMap::new();
    let mut keys: Vec<(Keyset, Vec<u8>)> = Vec::new();
    for (keyset, authority) in &found.authorities {
        let facts = Facts::read(&authority.certificate);
        keys.push((*keyset, facts.map_err(|error| ImportError::item(keyset.as_str(), error.to_string()))?.spki));
    }
    keys.extend(found.service_account.iter().map(|one| (Keyset::ServiceAccount, one.public.clone())));
    for (keyset, key) in keys {
        if let Some(one) = seen.insert(key, keyset) {
            return Err(ImportError::Shared { one, other: keyset });
        }
    }
    Ok(())
}

/// A leaf of the node, taken only where it is exactly of the form that is issued here (FORMAT 6).
fn leaf(found: &mut Found, profile: Profile, gathered: Gathered) -> Result<(), ImportError> {
    let Gathered { certificates, keys, .. } = gathered;
    let key = keys.into_iter().next();
    let Some((name, certificate)) = certificates.into_iter().next() else {
        if let Some((name, _)) = key {
            found.left(&name, "a key of a leaf, and no certificate beside it");
        }
        return Ok(());
    };
    let facts = match Facts::read(&certificate) {
        Ok(facts) => facts,
        Err(error) => {
            found.left(&name, error.to_string());
            return Ok(());
        }
    };
    let common_name = facts.common_name.clone().unwrap_or_default();
    let node = surroundings::node_of(profile, &common_name);
    if found.surroundings.node.is_none() {
        found.surroundings.node = node.map(str::to_owned);
    }
    if profile == Profile::Apiserver {
        surroundings::served(&mut found.surroundings, &facts.sans);
    }
    let owner = node.unwrap_or_default().to_owned();
    let issuer = found.authorities.get(&profile.keyset()).or_else(|| found.authorities.get(&profile.fallback_keyset()));
    let issuer = issuer.and_then(|authority| Facts::read(&authority.certificate).ok());
    let why = match (&key, issuer) {
        (None, _) => Some("it has no key beside it".to_owned()),
        (Some((_, key)), _) if key.spki() != facts.spki => Some("its key is another one".to_owned()),
        (_, None) => Some("its authority is not here".to_owned()),
        (_, Some(ca)) if facts.not_after > ca.not_after => Some("it outlives its authority".to_owned()),
        (_, Some(ca)) => pki::check_leaf(&facts, profile, &owner)
            .map_err(|(_, why)| why)
            .and_then(|()| pki::check_issued_by(&facts, &ca))
            .err(),
    };
    match (why, key) {
        (Some(why), key) => {
            found.left(&name, format!("{why}; cluster apply issues another when you want it"));
            if let Some((from, _)) = key.filter(|(from, _)| *from != name) {
                found.left(&from, format!("the key of {name}"));
            }
        }
        (None, Some((from, key))) => {
            found.taken(&name, format!("{profile}, until {}", facts.not_after));
            if from != name {
                found.taken(&from, format!("{profile}: its key"));
            }
            found.leaves.insert(profile, Leaf { certificate, key, names: [name, from] });
        }
        (None, None) => {}
    }
    Ok(())
}
