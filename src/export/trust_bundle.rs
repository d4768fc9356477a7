//! The ClusterTrustBundle of a CA: what pods are to trust, as an object of the cluster (KEP-3257). Knows the form and which
//! version has which; who is trusted is given.

use serde::Serialize;

use super::ExportError;
use super::files::yaml;
use crate::model::{ClusterName, Keyset, KubernetesVersion};
use crate::pki;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ClusterTrustBundle<'a> {
    api_version: String,
    kind: &'a str,
    metadata: Metadata<'a>,
    spec: Spec<'a>,
}

#[derive(Serialize)]
struct Metadata<'a> {
    name: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Spec<'a> {
    trust_bundle: &'a str,
}

/// The version of the API in a minor version of Kubernetes: alpha from 1.27 on, beta from 1.33 on, both switched off unless
/// asked for; stable and on from 1.37 on (kubernetes/kubernetes#139437).
fn api(minor: u16) -> Option<&'static str> {
    match minor {
        ..27 => None,
        27..33 => Some("v1alpha1"),
        33..37 => Some("v1beta1"),
        37.. => Some("v1"),
    }
}

/// The name of the object. A bundle that belongs to no signer has no colon in its name, and is named like a DNS subdomain.
pub fn name(cluster: &ClusterName, keyset: Keyset) -> String {
    format!("kluis-{cluster}-{keyset}")
}

/// The manifest with `authorities` (DER), which are written in the order given. Fails where the version has no such object.
pub fn manifest(
    cluster: &ClusterName,
    keyset: Keyset,
    version: &KubernetesVersion,
    authorities: &[Vec<u8>],
) -> Result<String, ExportError> {
    let api = api(version.minor).ok_or(ExportError::NoTrustBundle { version: *version })?;
    let name = name(cluster, keyset);
    let pem: Vec<u8> = authorities.iter().flat_map(|der| pki::certificate_pem(der)).collect();
    let bundle = ClusterTrustBundle {
        api_version: format!("certificates.k8s.io/{api}"),
        kind: "ClusterTrustBundle",
        metadata: Metadata { name: &name },
        spec: Spec { trust_bundle: &String::from_utf8_lossy(&pem) },
    };
    let written = yaml(&name, &bundle, 512 + pem.len() * 2)?;
    let mut text = format!(
        "# What cluster {cluster} trusts as its CA {keyset}, for pods that mount it (projected volume, clusterTrustBundle).\n\
         # Apply it again after `kluis rotate trust` and `kluis rotate distrust`; promote changes nothing in it.\n\
         # The order means nothing: the kubelet takes out what stands twice and shuffles the rest. So nothing that reads the\n\
         # volume may take the first for the one that issues.\n"
    );
    if api != "v1" {
        text += &format!(
            "# Kubernetes {version} has it switched off. The API server takes it with\n\
             #   --feature-gates=ClusterTrustBundle=true\n\
             #   --runtime-config=certificates.k8s.io/{api}/clustertrustbundles=true\n"
        );
        text += match version.minor {
            ..29 => "# and no kubelet mounts it before 1.29.\n",
            _ => "# and kubelets mount it with the gates ClusterTrustBundle and ClusterTrustBundleProjection.\n",
        };
    }
    Ok(text + &String::from_utf8_lossy(written.expose()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(version: &str, authorities: &[&str]) -> Result<String, ExportError> {
        let authorities: Vec<Vec<u8>> = authorities.iter().map(|text| text.as_bytes().to_vec()).collect();
        let version = KubernetesVersion::parse(version).unwrap();
        manifest(&ClusterName::parse("prod").unwrap(), Keyset::Kubernetes, &version, &authorities)
    }

    #[test]
    fn each_version_gets_the_form_that_it_has() {
        for (version, api, off) in [
            ("1.27", "v1alpha1", true),
            ("1.32", "v1alpha1", true),
            ("1.33", "v1beta1", true),
            ("1.36", "v1beta1", true),
            ("1.37", "v1", false),
        ] {
            let text = written(version, &["a", "b"]).unwrap();
            let value: serde_yaml_ng::Value = serde_yaml_ng::from_str(&text).unwrap();
            assert_eq!(value["apiVersion"], format!("certificates.k8s.io/{api}"));
            assert_eq!(value["metadata"]["name"], "kluis-prod-kubernetes");
            let pem = [b"a", b"b"].map(|der| String::from_utf8(pki::certificate_pem(der)).unwrap()).concat();
            assert_eq!(value["spec"]["trustBundle"], pem);
            assert_eq!(text.contains("--feature-gates=ClusterTrustBundle=true"), off, "{text}");
        }
    }

    #[test]
    fn a_version_without_such_objects_is_refused_with_the_reason() {
        let error = written("1.26", &["a"]).unwrap_err();
        assert_eq!(error.to_string(), "Kubernetes 1.26 has no ClusterTrustBundle: it came with 1.27, switched off");
    }
}
