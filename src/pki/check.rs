//! Judges a leaf certificate against its profile (FORMAT 6), and against the authority that issued it.

use super::facts::{Facts, KEY_CERT_SIGN};
use super::leaf::{
    AUTHORITY_KEY_ID, BASIC_CONSTRAINTS, EXTENDED_KEY_USAGE, KEY_USAGE, SUBJECT_ALT_NAME, SUBJECT_KEY_ID, purposes,
};
use super::name::{Attribute, COMMON_NAME, ORGANIZATION};
use super::signature::PublicKey;
use crate::model::{Code, Profile};

/// Checks what a leaf certificate says against `profile` and `owner`, the name of its node or person. The
/// result is the finding code and a clause:
///
/// - `weak-key`: RSA under 2048 bits, or a kind of key that nothing here knows.
/// - `bad-subject`: not the profile's CN and O's; or the DER is not O's first, each an RDN of its own, in
///   byte order, and the CN last, as UTF8String or PrintableString.
/// - `leaf-facts`: not exactly basic constraints (critical, CA:FALSE), key usage (critical;
///   digitalSignature, with keyEncipherment for RSA keys alone), the profile's extended key usages in any
///   order, both key identifiers and, not for persons, perhaps SANs.
///
/// SAN values, the right O of `apiserver-kubelet-client` and the groups of `client` are judged elsewhere.
pub fn check_leaf(facts: &Facts, profile: Profile, owner: &str) -> Result<(), (Code, String)> {
    let key = PublicKey::read(&facts.spki).map_err(|why| (Code::WeakKey, why))?;
    key.check_strength().map_err(|why| (Code::WeakKey, why))?;
    check_subject(facts, profile, owner).map_err(|why| (Code::BadSubject, why))?;
    check_extensions(facts, profile, &key).map_err(|why| (Code::LeafFacts, why))
}

fn check_subject(facts: &Facts, profile: Profile, owner: &str) -> Result<(), String> {
    let wanted = profile.common_name(owner);
    if facts.common_name.as_deref() != Some(&wanted) {
        return Err(format!(
            "its subject is {}, and a certificate of profile {profile} has CN={wanted}",
            facts.subject
        ));
    }
    let found: Vec<&str> = facts.organizations.iter().map(String::as_str).collect();
    if let Some(allowed) = profile.organizations()
        && !allowed.contains(&found.as_slice())
    {
        return Err(format!("its subject is {}, with an O that the profile {profile} does not have", facts.subject));
    }
    let is_one = |rdn: &[Attribute], oid| matches!(rdn, [one] if one.oid == oid && one.is_directory_string);
    let Some((last, first)) = facts.rdns.split_last() else { return Err("its subject is empty".to_owned()) };
    if !is_one(last, COMMON_NAME) || !first.iter().all(|rdn| is_one(rdn, ORGANIZATION)) {
        return Err(format!("its subject {} is not O's, each by itself, and the CN last", facts.subject));
    }
    if !found.is_sorted_by(|one, next| one < next) {
        return Err(format!("the O's of its subject {} are not in byte order, each once", facts.subject));
    }
    Ok(())
}

fn check_extensions(facts: &Facts, profile: Profile, key: &PublicKey) -> Result<(), String> {
    const DIGITAL_SIGNATURE: u16 = 1;
    const KEY_ENCIPHERMENT: u16 = 1 << 2;
    check_extension_set(facts, profile)?;
    if facts.is_ca || facts.path_length.is_some() {
        return Err("it is an authority's".to_owned());
    }
    let usage = if key.is_rsa() { DIGITAL_SIGNATURE | KEY_ENCIPHERMENT } else { DIGITAL_SIGNATURE };
    if facts.key_usage != Some(usage) {
        let wanted = if key.is_rsa() { "digitalSignature and keyEncipherment" } else { "digitalSignature" };
        return Err(format!("its key usage is not exactly {wanted}"));
    }
    let mut wanted: Vec<String> = purposes(profile.key_use()).iter().map(ToString::to_string).collect();
    let mut found = facts.extended_key_usages.clone();
    wanted.sort();
    found.sort();
    if wanted != found {
        return Err(format!("its extended key usages are not those of the profile {profile}"));
    }
    let aki = facts.extensions.iter().find(|extension| extension.oid == AUTHORITY_KEY_ID.to_string());
    // The identifier alone: an issuer's name and serial beside it would tie the leaf to one certificate of
    // an authority that may be signed again.
    let is_identifier_alone = match (aki, &facts.aki) {
        (Some(extension), Some(id)) => extension.value.len() == id.len() + 4 && !id.is_empty(),
        _ => false,
    };
    if !is_identifier_alone || facts.ski.as_ref().is_none_or(Vec::is_empty) {
        return Err("its key identifiers are not one identifier each".to_owned());
    }
    Ok(())
}

/// Which extensions there are, and which of them are critical.
fn check_extension_set(facts: &Facts, profile: Profile) -> Result<(), String> {
    let required = [
        (BASIC_CONSTRAINTS, true, "basic constraints"),
        (KEY_USAGE, true, "key usage"),
        (EXTENDED_KEY_USAGE, false, "extended key usage"),
        (SUBJECT_KEY_ID, false, "subject key identifier"),
        (AUTHORITY_KEY_ID, false, "authority key identifier"),
    ];
    let optional = (SUBJECT_ALT_NAME, false, "subject alternative name");
    for extension in &facts.extensions {
        let mut known = required.iter().chain((!profile.is_person()).then_some(&optional));
        match known.find(|(oid, _, _)| oid.to_string() == extension.oid) {
            None => {
                return Err(format!("it has the extension {}, which is not the profile {profile}'s", extension.oid));
            }
            Some((_, critical, name)) if *critical != extension.critical => {
                let word = if *critical { "not critical" } else { "critical" };
                return Err(format!("its {name} is {word}"));
            }
            Some(_) => {}
        }
    }
    let has = |oid: &str| facts.extensions.iter().any(|extension| extension.oid == oid);
    match required.iter().find(|(oid, _, _)| !has(&oid.to_string())) {
        Some((_, _, name)) => Err(format!("it has no {name}")),
        None => Ok(()),
    }
}

/// Checks that `ca` issued `leaf`: the names agree byte for byte, `ca` may sign certificates, the key
/// identifiers agree where both are there, and the signature is right. Fails with a clause (`bad-chain`).
///
/// Names alone prove nothing: two authorities may have one subject. Dates are not looked at, since a
/// certificate keeps its issuer after both have ended.
pub fn check_issued_by(leaf: &Facts, ca: &Facts) -> Result<(), String> {
    if leaf.issuer_dn != ca.subject_dn {
        return Err(format!("its issuer is {}, and the authority is {}", leaf.issuer, ca.subject));
    }
    if !ca.is_ca || ca.key_usage.is_some_and(|usage| usage & KEY_CERT_SIGN == 0) {
        return Err(format!("{} is no authority that may sign certificates", ca.subject));
    }
    if let (Some(named), Some(own)) = (&leaf.aki, &ca.ski)
        && named != own
    {
        return Err(format!("it names another key of {} as its issuer", ca.subject));
    }
    let key = PublicKey::read(&ca.spki)?;
    key.verify(&leaf.signature_algorithm, &leaf.tbs, &leaf.signature)
}
