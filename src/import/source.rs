//! What was handed over: one of the sources, by its names and its first words. Chooses the reader.

use super::part::Parts;
use super::{File, Files, ImportError, LARGEST, Source, archive, folder, kops, loose, secrets, talos};
use crate::export::yaml::Node;
use crate::model::Distribution;
use crate::secret::Secret;

/// The parts of what was handed over.
pub(super) fn parts(mut files: Files, distribution: Distribution) -> Result<Parts, ImportError> {
    if let ([file], []) = (files.files.as_slice(), files.others.as_slice())
        && archive::is_archive(file.bytes.expose())
    {
        files = archive::files(&file.path.clone(), &file.bytes)?;
    }
    for file in &files.files {
        check_plain(file)?;
    }
    if files.files.iter().any(|file| kops::is_keyset_path(&file.path)) {
        return kops::folder(files);
    }
    if let Some(layout) = folder::layout(&files, distribution)? {
        return folder::parts(files, &layout);
    }
    match documents(&mut files)? {
        Some((name, kind, documents)) => {
            let mut parts = match kind {
                Source::TalosSecrets => talos::secrets(&name, &documents),
                Source::TalosConfig => talos::config(&name, &documents),
                Source::Kops => kops::documents(&name, &documents),
                _ => secrets::parts(&name, &documents),
            }?;
            for (name, what) in files.others {
                parts.left(name, format!("it is {what}"));
            }
            for file in files.files {
                parts.left(file.path, format!("not looked at: the keys are in {name}"));
            }
            Ok(parts)
        }
        None => loose::parts(files, distribution),
    }
}

/// Refuses what another program encrypted or packed, with the command that undoes it into a pipe.
fn check_plain(file: &File) -> Result<(), ImportError> {
    let bytes = file.bytes.expose();
    let name = file.path.as_str();
    let begins = |word: &str| bytes.trim_ascii_start().starts_with(word.as_bytes());
    let path = super::error::quoted(name);
    let (what, command) = if begins("-----BEGIN PGP MESSAGE-----") {
        ("it is an OpenPGP message", format!("gpg -d {path}"))
    } else if begins("-----BEGIN AGE ENCRYPTED FILE-----") || begins("age-encryption.org/v1") {
        ("it is encrypted with age", format!("age -d -i IDENTITY {path}"))
    } else if is_sops(bytes) {
        ("it is encrypted with SOPS", format!("sops -d {path}"))
    } else if bytes.starts_with(&[0x1f, 0x8b]) {
        ("it is compressed", format!("gzip -dc {path}"))
    } else {
        return Ok(());
    };
    Err(ImportError::Encrypted { name: name.to_owned(), what, command })
}

/// Whether values are of SOPS: each is `ENC[AES256_GCM,…]`, and its own data stands beside them.
fn is_sops(bytes: &[u8]) -> bool {
    let has = |word: &[u8]| bytes.windows(word.len()).any(|window| window == word);
    has(b"ENC[AES256_GCM,") && has(b"sops")
}

/// Takes out the one file of documents that has keys, if there is one, and says of what kind it is.
fn documents(files: &mut Files) -> Result<Option<(String, Source, Vec<Node>)>, ImportError> {
    let mut found = Vec::new();
    for (index, file) in files.files.iter().enumerate() {
        if let Some((kind, documents)) = kind(file)? {
            found.push((index, kind, documents));
        }
    }
    // Patches of machine configurations lie beside secrets.yaml, and are made from it.
    if found.iter().filter(|(_, kind, _)| *kind == Source::TalosSecrets).count() == 1 {
        found.retain(|(_, kind, _)| *kind == Source::TalosSecrets);
    }
    let several = found.len();
    let Some((index, kind, documents)) = found.pop() else { return Ok(None) };
    if several > 1 {
        let name = &files.files[index].path;
        return Err(ImportError::item(name, "and other files beside it hold keys of a cluster: name the one to take"));
    }
    let file = files.files.swap_remove(index);
    Ok(Some((file.path, kind, documents)))
}

fn kind(file: &File) -> Result<Option<(Source, Vec<Node>)>, ImportError> {
    let bytes = &file.bytes;
    let has = |words: &[&str]| words.iter().all(|word| contains(bytes, word));
    let lower = |words: &[&str]| words.iter().all(|word| contains_any_case(bytes, word));
    let wanted = if lower(&["k8saggregator", "trustdinfo"]) {
        Source::TalosSecrets
    } else if has(&["machine:", "cluster:"]) || has(&["\"machine\"", "\"cluster\""]) {
        Source::TalosConfig
    } else if has(&["Keyset", "kops.k8s.io"]) {
        Source::Kops
    } else if has(&["Secret", "tls.key"]) || has(&["Secret", "tls.crt"]) {
        Source::ClusterApi
    } else {
        return Ok(None);
    };
    let documents = Node::read_stream(bytes, LARGEST);
    let documents = documents.map_err(|source| ImportError::Yaml { name: file.path.clone(), source })?;
    Ok(Some((wanted, documents)))
}

fn contains(bytes: &Secret, word: &str) -> bool {
    bytes.expose().windows(word.len()).any(|window| window == word.as_bytes())
}

fn contains_any_case(bytes: &Secret, word: &str) -> bool {
    bytes.expose().windows(word.len()).any(|window| window.eq_ignore_ascii_case(word.as_bytes()))
}
