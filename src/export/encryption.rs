//! The EncryptionConfiguration: encryption at rest of secrets and config maps (kubernetes-pki E).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::model::Generation;
use crate::secret::Secret;

use super::ExportError;
use super::files::yaml;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EncryptionConfiguration<'a> {
    api_version: &'a str,
    kind: &'a str,
    resources: [Resources<'a>; 1],
}

#[derive(Serialize)]
struct Resources<'a> {
    resources: [&'a str; 2],
    providers: [Provider<'a>; 2],
}

#[derive(Serialize)]
#[serde(untagged)]
enum Provider<'a> {
    Secretbox { secretbox: Secretbox<'a> },
    Identity { identity: Empty },
}

#[derive(Serialize)]
struct Secretbox<'a> {
    keys: Vec<Key<'a>>,
}

#[derive(Serialize)]
struct Key<'a> {
    name: String,
    secret: &'a str,
}

#[derive(Serialize)]
struct Empty {}

/// The EncryptionConfiguration with `keys`, the one that writes first, for the file `path`.
///
/// secretbox comes first, so that nothing is written in plain; `identity` last, so that what was written
/// before encryption was switched on can still be read. Fails where a key has not exactly 32 bytes or a generation stands twice.
pub(super) fn configuration(path: &str, keys: &[(Generation, Secret)]) -> Result<Secret, ExportError> {
    let mut encoded = Vec::with_capacity(keys.len());
    for (index, (generation, key)) in keys.iter().enumerate() {
        if key.len() != 32 {
            return Err(ExportError::EncryptionKey { generation: *generation, length: key.len() });
        }
        if keys[..index].iter().any(|(other, _)| other == generation) {
            return Err(ExportError::EncryptionKeyTwice { generation: *generation });
        }
        // Room for all of it at once: a string that grows leaves copies.
        let mut text = Zeroizing::new(String::with_capacity(44));
        STANDARD.encode_string(key.expose(), &mut text);
        encoded.push(text);
    }
    let keys = keys
        .iter()
        .zip(&encoded)
        .map(|((generation, _), secret)| Key { name: key_name(*generation), secret: secret.as_str() })
        .collect::<Vec<_>>();
    let size = 512 + 128 * keys.len();
    let configuration = EncryptionConfiguration {
        api_version: "apiserver.config.k8s.io/v1",
        kind: "EncryptionConfiguration",
        resources: [Resources {
            resources: ["secrets", "configmaps"],
            providers: [
                Provider::Secretbox { secretbox: Secretbox { keys } },
                Provider::Identity { identity: Empty {} },
            ],
        }],
    };
    yaml(path, &configuration, size)
}

/// A key's name is part of every ciphertext in etcd, so it must mean the same bytes for ever: it is that of the generation
/// (`kluis-g1`), which is never used again.
pub(super) fn key_name(generation: Generation) -> String {
    format!("kluis-{generation}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generation(number: u32) -> Generation {
        Generation::new(number).unwrap()
    }

    #[test]
    fn the_key_that_writes_comes_first_and_plain_text_last() {
        let keys = [(generation(2), Secret::new(vec![2; 32])), (generation(1), Secret::new(vec![1; 32]))];
        let written = configuration("e.yaml", &keys).unwrap();
        assert_eq!(
            std::str::from_utf8(written.expose()).unwrap(),
            "apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources:
  - secrets
  - configmaps
  providers:
  - secretbox:
      keys:
      - name: kluis-g2
        secret: AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=
      - name: kluis-g1
        secret: AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=
  - identity: {}
"
        );
    }

    #[test]
    fn keys_that_secretbox_or_etcd_could_not_tell_apart_are_refused() {
        let short = [(generation(1), Secret::new(vec![0; 16]))];
        assert!(matches!(configuration("e", &short), Err(ExportError::EncryptionKey { length: 16, .. })));
        let twice = [(generation(1), Secret::new(vec![1; 32])), (generation(1), Secret::new(vec![2; 32]))];
        assert!(matches!(configuration("e", &twice), Err(ExportError::EncryptionKeyTwice { .. })));
    }
}
