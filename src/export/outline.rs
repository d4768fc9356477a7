//! Kubeconfigs and EncryptionConfigurations of others, read with patience for a look at them: any number of clusters and
//! users, files instead of data, fields that nobody knows. Secrets stay in `Secret`, and no error quotes a value.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

use super::kubeconfig::KubeconfigError;
use crate::secret::Secret;

/// A cluster of a kubeconfig together with a user, as a context joins them, or one of both alone.
#[derive(Default)]
pub struct Access {
    /// The URL of the API.
    pub server: String,
    /// Whether the server's certificate is not checked.
    pub skips_verification: bool,
    /// Whether certificates or keys are named as files.
    pub names_files: bool,
    /// The CA certificates, as they are embedded.
    pub authorities: Vec<u8>,
    /// The client certificate, as it is embedded.
    pub certificate: Vec<u8>,
    /// The key, as it is embedded.
    pub key: Option<Secret>,
}

/// A provider of an EncryptionConfiguration.
pub struct Provider {
    /// `identity`, `secretbox`, `aescbc`, `aesgcm` or `kms`.
    pub kind: String,
    /// The names of its keys, and their length in octets if they are base64.
    pub keys: Vec<(String, Option<usize>)>,
}

/// An entry of an EncryptionConfiguration.
pub struct Encrypted {
    /// What is encrypted.
    pub resources: Vec<String>,
    /// How; the first provider writes.
    pub providers: Vec<Provider>,
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    clusters: Vec<NamedCluster>,
    #[serde(default)]
    users: Vec<NamedUser>,
    #[serde(default)]
    contexts: Vec<NamedContext>,
}

#[derive(Deserialize)]
struct NamedCluster {
    name: String,
    cluster: Cluster,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    #[serde(default)]
    server: String,
    #[serde(default)]
    insecure_skip_tls_verify: bool,
    certificate_authority: Option<String>,
    certificate_authority_data: Option<String>,
}

#[derive(Deserialize)]
struct NamedUser {
    name: String,
    user: User,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct User {
    client_certificate: Option<String>,
    client_certificate_data: Option<String>,
    client_key: Option<String>,
    #[serde(default, deserialize_with = "wiped")]
    client_key_data: Option<Zeroizing<String>>,
}

#[derive(Deserialize)]
struct NamedContext {
    context: Context,
}

#[derive(Deserialize)]
struct Context {
    #[serde(default)]
    cluster: String,
    #[serde(default)]
    user: String,
}

#[derive(Deserialize)]
struct Encryption {
    #[serde(default)]
    resources: Vec<EncryptionEntry>,
}

#[derive(Deserialize)]
struct EncryptionEntry {
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    providers: Vec<BTreeMap<String, Option<ProviderBody>>>,
}

#[derive(Deserialize)]
struct ProviderBody {
    #[serde(default)]
    keys: Vec<EncryptionKey>,
}

#[derive(Deserialize)]
struct EncryptionKey {
    #[serde(default)]
    name: String,
    #[serde(default, deserialize_with = "wiped")]
    secret: Option<Zeroizing<String>>,
}

fn wiped<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Zeroizing<String>>, D::Error> {
    Option::<String>::deserialize(deserializer).map(|text| text.map(Zeroizing::new))
}

fn read<'de, T: Deserialize<'de>>(bytes: &'de Secret) -> Result<T, KubeconfigError> {
    serde_yaml_ng::from_slice(bytes.expose())
        .map_err(|error| KubeconfigError::Shape { line: error.location().map(|at| at.line()) })
}

fn decoded(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(vec![0; text.len() / 4 * 3 + 3]);
    let length = STANDARD.decode_slice(text.trim(), &mut bytes).ok()?;
    bytes.truncate(length);
    Some(bytes)
}

fn data(text: Option<&str>, field: &'static str) -> Result<Vec<u8>, KubeconfigError> {
    text.map_or(Ok(Vec::new()), |text| {
        decoded(text).map(|bytes| bytes.to_vec()).ok_or(KubeconfigError::Encoding { field })
    })
}

fn access(cluster: Option<&Cluster>, user: Option<&User>) -> Result<Access, KubeconfigError> {
    let mut access = Access::default();
    if let Some(cluster) = cluster {
        access.server = cluster.server.clone();
        access.skips_verification = cluster.insecure_skip_tls_verify;
        access.names_files |= cluster.certificate_authority.is_some();
        access.authorities = data(cluster.certificate_authority_data.as_deref(), "certificate-authority-data")?;
    }
    if let Some(user) = user {
        access.names_files |= user.client_certificate.is_some() || user.client_key.is_some();
        access.certificate = data(user.client_certificate_data.as_deref(), "client-certificate-data")?;
        if let Some(key) = &user.client_key_data {
            let key = decoded(key).ok_or(KubeconfigError::Encoding { field: "client-key-data" })?;
            access.key = Some(Secret::from(key));
        }
    }
    Ok(access)
}

/// The accesses of a kubeconfig: what its contexts join, then clusters and users that none names.
pub fn accesses(bytes: &Secret) -> Result<Vec<Access>, KubeconfigError> {
    let config: Config = read(bytes)?;
    let mut found = Vec::new();
    let contexts = || config.contexts.iter().map(|one| &one.context);
    for context in contexts() {
        let cluster = config.clusters.iter().find(|one| one.name == context.cluster);
        let user = config.users.iter().find(|one| one.name == context.user);
        found.push(access(cluster.map(|one| &one.cluster), user.map(|one| &one.user))?);
    }
    for one in config.clusters.iter().filter(|one| contexts().all(|context| context.cluster != one.name)) {
        found.push(access(Some(&one.cluster), None)?);
    }
    for one in config.users.iter().filter(|one| contexts().all(|context| context.user != one.name)) {
        found.push(access(None, Some(&one.user))?);
    }
    Ok(found)
}

/// The entries of an EncryptionConfiguration, in their order.
pub fn encryption(bytes: &Secret) -> Result<Vec<Encrypted>, KubeconfigError> {
    let config: Encryption = read(bytes)?;
    let key = |key: EncryptionKey| {
        let length = key.secret.as_ref().and_then(|secret| decoded(secret)).map(|secret| secret.len());
        (key.name, length)
    };
    let provider = |(kind, body): (String, Option<ProviderBody>)| Provider {
        kind,
        keys: body.map(|body| body.keys.into_iter().map(key).collect()).unwrap_or_default(),
    };
    let entry = |entry: EncryptionEntry| Encrypted {
        resources: entry.resources,
        providers: entry.providers.into_iter().flatten().map(provider).collect(),
    };
    Ok(config.resources.into_iter().map(entry).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.as_bytes().to_vec())
    }

    #[test]
    fn contexts_join_and_what_none_joins_is_seen_too() {
        let text = "
clusters:
- {name: a, cluster: {server: 'https://a', certificate-authority-data: YQ==}}
- {name: b, cluster: {server: 'https://b', insecure-skip-tls-verify: true, certificate-authority: /x}}
users:
- {name: u, user: {client-certificate-data: Yg==, client-key-data: Yw==, as: nobody}}
- {name: v, user: {token: t}}
contexts:
- {name: x, context: {cluster: a, user: u}}
";
        let found = accesses(&secret(text)).unwrap();
        assert_eq!(found.iter().map(|one| one.server.as_str()).collect::<Vec<_>>(), ["https://a", "https://b", ""]);
        assert_eq!((found[0].authorities.as_slice(), found[0].certificate.as_slice()), (&b"a"[..], &b"b"[..]));
        assert_eq!(found[0].key.as_ref().unwrap().expose(), b"c");
        assert!(found[1].skips_verification && found[1].names_files && !found[0].names_files);
        assert!(accesses(&secret("clusters: 3")).is_err());
        assert!(accesses(&secret(&text.replace("Yw==", "!!"))).is_err());
    }

    #[test]
    fn providers_keep_their_order_and_keys_their_length() {
        let text = "{kind: EncryptionConfiguration, resources: [{resources: [secrets], providers: [
            {secretbox: {keys: [{name: k, secret: YWJj}, {name: l, secret: '?'}]}}, {identity: {}}, {kms: {name: x}}]}]}";
        let found = encryption(&secret(text)).unwrap();
        let kinds: Vec<&str> = found[0].providers.iter().map(|one| one.kind.as_str()).collect();
        assert_eq!(kinds, ["secretbox", "identity", "kms"]);
        assert_eq!(found[0].providers[0].keys, [("k".to_owned(), Some(3)), ("l".to_owned(), None)]);
    }
}
