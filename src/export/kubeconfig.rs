//! Kubeconfigs in the shape that kubeadm writes: one cluster, one user, one context, everything embedded
//! (kubernetes-pki A.2). Written and read as values, never by string.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize};
use zeroize::Zeroizing;

use crate::secret::Secret;

use super::ExportError;
use super::files::yaml;

/// What a kubeconfig says.
pub struct Kubeconfig {
    /// The cluster's name.
    pub cluster: String,
    /// The URL of its API.
    pub server: String,
    /// The user's name; the context is `USER@CLUSTER`.
    pub user: String,
    /// The CA certificates that the server's may come from, PEM, the issuing one first.
    pub certificate_authorities: Vec<u8>,
    /// The client certificate, PEM.
    pub client_certificate: Vec<u8>,
    /// Its key.
    pub client_key: ClientKey,
}

/// Where a client's key is.
pub enum ClientKey {
    /// In the file, PEM.
    Embedded(Secret),
    /// In this file, on the machine that uses the kubeconfig.
    File(String),
}

/// Why a kubeconfig is refused. The YAML library's own message may quote a value, and the value may be a
/// key: only the place is kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KubeconfigError {
    /// It is no YAML, or has another shape.
    #[error("no kubeconfig with embedded certificates{}", .line.map_or_else(String::new, |line| format!(" (line {line})")))]
    Shape {
        /// The line at fault, where it is known.
        line: Option<usize>,
    },
    /// It has not exactly one cluster, one user and one context, joined by the current context.
    #[error("a kubeconfig of one cluster, one user and the current context that joins them is expected")]
    Several,
    /// A value that is not base64.
    #[error("{field} is not base64")]
    Encoding {
        /// The field.
        field: &'static str,
    },
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Written<'a> {
    #[serde(rename = "apiVersion")]
    api_version: &'a str,
    clusters: [WrittenCluster<'a>; 1],
    contexts: [WrittenContext<'a>; 1],
    current_context: &'a str,
    kind: &'a str,
    users: [WrittenUser<'a>; 1],
}

#[derive(Serialize)]
struct WrittenCluster<'a> {
    cluster: ClusterFields<&'a str>,
    name: &'a str,
}

#[derive(Serialize)]
struct WrittenContext<'a> {
    context: ContextFields<&'a str>,
    name: &'a str,
}

#[derive(Serialize)]
struct WrittenUser<'a> {
    name: &'a str,
    user: WrittenCredential<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct WrittenCredential<'a> {
    client_certificate_data: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_key_data: Option<&'a str>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct ClusterFields<T> {
    certificate_authority_data: T,
    server: T,
}

#[derive(Serialize, Deserialize)]
struct ContextFields<T> {
    cluster: T,
    user: T,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Read {
    clusters: Vec<ReadCluster>,
    contexts: Vec<ReadContext>,
    current_context: String,
    users: Vec<ReadUser>,
}

#[derive(Deserialize)]
struct ReadCluster {
    cluster: ClusterFields<String>,
    name: String,
}

#[derive(Deserialize)]
struct ReadContext {
    context: ContextFields<String>,
    name: String,
}

#[derive(Deserialize)]
struct ReadUser {
    name: String,
    user: ReadCredential,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct ReadCredential {
    client_certificate_data: String,
    #[serde(deserialize_with = "wiped")]
    client_key_data: Zeroizing<String>,
}

fn wiped<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Zeroizing<String>, D::Error> {
    String::deserialize(deserializer).map(Zeroizing::new)
}

/// Base64 in a string of the right size from the start: one that grows leaves copies.
fn encode(bytes: &[u8]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(bytes.len().div_ceil(3) * 4));
    STANDARD.encode_string(bytes, &mut text);
    text
}

/// Decodes into a buffer of the right size from the start.
fn decode(text: &str, field: &'static str) -> Result<Zeroizing<Vec<u8>>, KubeconfigError> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len() / 4 * 3 + 3));
    STANDARD.decode_vec(text, &mut bytes).map_err(|_| KubeconfigError::Encoding { field })?;
    Ok(bytes)
}

impl Kubeconfig {
    /// The name of its context.
    pub fn context(&self) -> String {
        format!("{}@{}", self.user, self.cluster)
    }

    /// The file's bytes; `path` is where they will lie, for the error.
    pub fn write(&self, path: &str) -> Result<Secret, ExportError> {
        let authorities = encode(&self.certificate_authorities);
        let certificate = encode(&self.client_certificate);
        let key = match &self.client_key {
            ClientKey::Embedded(key) => Some(encode(key.expose())),
            ClientKey::File(_) => None,
        };
        let file = match &self.client_key {
            ClientKey::Embedded(_) => None,
            ClientKey::File(path) => Some(path.as_str()),
        };
        let context = self.context();
        let (cluster, user) = (self.cluster.as_str(), self.user.as_str());
        let size = 1024
            + authorities.len()
            + certificate.len()
            + key.as_ref().map_or(256, |key| key.len())
            + 8 * (cluster.len() + user.len());
        let written = Written {
            api_version: "v1",
            clusters: [WrittenCluster {
                cluster: ClusterFields { certificate_authority_data: &authorities, server: &self.server },
                name: cluster,
            }],
            contexts: [WrittenContext { context: ContextFields { cluster, user }, name: &context }],
            current_context: &context,
            kind: "Config",
            users: [WrittenUser {
                name: user,
                user: WrittenCredential {
                    client_certificate_data: &certificate,
                    client_key: file,
                    client_key_data: key.as_ref().map(|key| key.as_str()),
                },
            }],
        };
        yaml(path, &written, size)
    }

    /// The CA certificates and the client certificate (PEM) of a kubeconfig, wherever its key is: what can be compared
    /// without opening anything. Fails as `read` does, but for the key.
    pub fn read_public(bytes: &Secret) -> Result<(Vec<u8>, Vec<u8>), KubeconfigError> {
        #[derive(Deserialize)]
        struct Public {
            clusters: Vec<ReadCluster>,
            users: Vec<PublicUser>,
        }
        #[derive(Deserialize)]
        struct PublicUser {
            user: PublicCredential,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "kebab-case")]
        struct PublicCredential {
            client_certificate_data: String,
        }
        let read: Public = serde_yaml_ng::from_slice(bytes.expose())
            .map_err(|error| KubeconfigError::Shape { line: error.location().map(|at| at.line()) })?;
        let ([cluster], [user]) = (read.clusters.as_slice(), read.users.as_slice()) else {
            return Err(KubeconfigError::Several);
        };
        Self::decode_public(&cluster.cluster.certificate_authority_data, &user.user.client_certificate_data)
    }

    /// The CA certificates and the client certificate (PEM) that these two fields of a kubeconfig have in base64.
    pub fn decode_public(authorities: &str, certificate: &str) -> Result<(Vec<u8>, Vec<u8>), KubeconfigError> {
        let authorities = decode(authorities, "certificate-authority-data")?;
        let certificate = decode(certificate, "client-certificate-data")?;
        Ok((authorities.to_vec(), certificate.to_vec()))
    }

    /// Reads a kubeconfig of the shape that `write` makes; other fields are passed over. Fails where there
    /// are several clusters, users or contexts, or where files are named instead of data.
    pub fn read(bytes: &Secret) -> Result<Self, KubeconfigError> {
        let read: Read = serde_yaml_ng::from_slice(bytes.expose())
            .map_err(|error| KubeconfigError::Shape { line: error.location().map(|at| at.line()) })?;
        let ([cluster], [context], [user]) =
            (read.clusters.as_slice(), read.contexts.as_slice(), read.users.as_slice())
        else {
            return Err(KubeconfigError::Several);
        };
        let joined = context.name == read.current_context
            && context.context.cluster == cluster.name
            && context.context.user == user.name;
        if !joined {
            return Err(KubeconfigError::Several);
        }
        let authorities = decode(&cluster.cluster.certificate_authority_data, "certificate-authority-data")?;
        let certificate = decode(&user.user.client_certificate_data, "client-certificate-data")?;
        Ok(Self {
            cluster: cluster.name.clone(),
            server: cluster.cluster.server.clone(),
            user: user.name.clone(),
            certificate_authorities: authorities.to_vec(),
            client_certificate: certificate.to_vec(),
            client_key: ClientKey::Embedded(Secret::from(decode(&user.user.client_key_data, "client-key-data")?)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kubeconfig() -> Kubeconfig {
        Kubeconfig {
            cluster: "prod".to_owned(),
            server: "https://[fd00::1]:6443".to_owned(),
            user: "system:node:cp-1".to_owned(),
            certificate_authorities: b"authority".to_vec(),
            client_certificate: b"certificate".to_vec(),
            client_key: ClientKey::Embedded(Secret::new(b"key".to_vec())),
        }
    }

    fn key(one: &Kubeconfig) -> Vec<u8> {
        match &one.client_key {
            ClientKey::Embedded(key) => key.expose().to_vec(),
            ClientKey::File(path) => path.clone().into_bytes(),
        }
    }

    #[test]
    fn a_key_elsewhere_is_named_and_not_embedded() {
        let mut one = kubeconfig();
        one.client_key = ClientKey::File("/var/lib/kubelet/pki/x.key".to_owned());
        let written = one.write("x.conf").unwrap();
        let text = std::str::from_utf8(written.expose()).unwrap();
        assert!(text.ends_with("    client-key: /var/lib/kubelet/pki/x.key\n"), "{text}");
        assert!(!text.contains("client-key-data"));
    }

    const WRITTEN: &str = "apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: YXV0aG9yaXR5
    server: https://[fd00::1]:6443
  name: prod
contexts:
- context:
    cluster: prod
    user: system:node:cp-1
  name: system:node:cp-1@prod
current-context: system:node:cp-1@prod
kind: Config
users:
- name: system:node:cp-1
  user:
    client-certificate-data: Y2VydGlmaWNhdGU=
    client-key-data: a2V5
";

    fn refused(text: &str) -> KubeconfigError {
        Kubeconfig::read(&Secret::new(text.as_bytes().to_vec())).err().unwrap()
    }

    #[test]
    fn it_has_the_shape_that_kubeadm_writes() {
        let written = kubeconfig().write("x.conf").unwrap();
        assert_eq!(std::str::from_utf8(written.expose()).unwrap(), WRITTEN);
    }

    #[test]
    fn what_was_written_is_read_back() {
        let mut one = kubeconfig();
        // longer than any line that a YAML writer would fold
        one.client_certificate = (0..=255).cycle().take(9000).collect();
        let read = Kubeconfig::read(&one.write("x.conf").unwrap()).unwrap();
        assert_eq!((&read.cluster, &read.server, &read.user), (&one.cluster, &one.server, &one.user));
        assert_eq!(read.certificate_authorities, one.certificate_authorities);
        assert_eq!(read.client_certificate, one.client_certificate);
        assert_eq!(key(&read), key(&one));
    }

    #[test]
    fn a_name_that_looks_like_a_number_stays_a_name() {
        let mut one = kubeconfig();
        one.cluster = "123".to_owned();
        one.user = "1e3".to_owned();
        let read = Kubeconfig::read(&one.write("x.conf").unwrap()).unwrap();
        assert_eq!((read.cluster.as_str(), read.user.as_str()), ("123", "1e3"));
    }

    #[test]
    fn a_kubeconfig_of_another_shape_is_refused() {
        assert_eq!(refused(&WRITTEN.replace("current-context: system:node:cp-1@prod", "current-context: x")), {
            KubeconfigError::Several
        });
        assert_eq!(refused(&WRITTEN.replace("    user: system", "    user: other")), KubeconfigError::Several);
        assert_eq!(refused(&WRITTEN.replace("a2V5", "a2V")), KubeconfigError::Encoding { field: "client-key-data" });
        assert!(matches!(refused(&WRITTEN.replace("client-key-data", "client-key")), KubeconfigError::Shape { .. }));
    }

    #[test]
    fn no_error_quotes_a_value() {
        let error = refused(&WRITTEN.replace("client-key-data: a2V5", "client-key-data: [c2VjcmV0]"));
        assert!(!error.to_string().contains("c2VjcmV0"), "{error}");
        let error = refused("c2VjcmV0");
        assert!(!error.to_string().contains("c2VjcmV0"), "{error}");
    }
}
