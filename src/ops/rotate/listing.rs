//! What a node's public files say, brought by hand: lines `PATH:LINE`, as `grep -H` prints them on the node (the
//! help of `rotate check` has the commands). No key is among
//! them, so the text may travel by any channel. Only reads; what the files have to be is `check`'s.

use std::collections::BTreeMap;

use crate::export::kubeconfig::{Kubeconfig, KubeconfigError};

/// Where a kubelet has its serving certificate.
const SERVING: &str = "/var/lib/kubelet/pki/kubelet.crt";

/// The CA certificates and the client certificate (PEM) of a kubeconfig; `None` where it is not there.
pub type Conf = Option<Result<(Vec<u8>, Vec<u8>), KubeconfigError>>;

/// The lines of each file, by path.
pub struct Listing {
    files: BTreeMap<String, String>,
}

impl Listing {
    /// Reads the text. A line without a path is passed over: the shell's prompt, a notice of ssh.
    pub fn parse(text: &str) -> Self {
        let mut files: BTreeMap<String, String> = BTreeMap::new();
        for line in text.lines() {
            let Some((path, line)) = line.split_once(':') else { continue };
            // An export has it in a folder of its own.
            let path = if path.ends_with(SERVING) { "kubelet/kubelet.crt" } else { path };
            let file = files.entry(path.trim_start_matches("./").to_owned()).or_default();
            file.push_str(line.trim_end_matches('\r'));
            file.push('\n');
        }
        Self { files }
    }

    /// The content of a file, `None` where the listing has none of it.
    pub fn file(&self, path: &str) -> Option<&[u8]> {
        self.files.get(path).map(String::as_bytes)
    }

    /// What a kubeconfig says, from the two lines that have its certificates.
    pub fn kubeconfig(&self, path: &str) -> Conf {
        let lines = self.files.get(path)?;
        let value = |field: &str| {
            let mut values = lines.lines().filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix(field));
            match (values.next(), values.next()) {
                (Some(value), None) => Ok(value.trim_start_matches(':').trim().trim_matches(['"', '\''])),
                (Some(_), Some(_)) => Err(KubeconfigError::Several),
                (None, _) => Err(KubeconfigError::Shape { line: None }),
            }
        };
        let both = value("certificate-authority-data")
            .and_then(|authorities| Ok((authorities, value("client-certificate-data")?)));
        Some(both.and_then(|(authorities, certificate)| Kubeconfig::decode_public(authorities, certificate)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_gathered_by_file_and_others_are_passed_over() {
        let text = "Last login\npki/ca.crt:-----BEGIN\r\npki/ca.crt:a:b\npki/sa.pub:x\n./pki/ca.crt:end\n";
        let listing = Listing::parse(text);
        assert_eq!(listing.file("pki/ca.crt"), Some("-----BEGIN\na:b\nend\n".as_bytes()));
        assert_eq!(listing.file("pki/sa.pub"), Some("x\n".as_bytes()));
        assert!(listing.file("pki/none").is_none() && listing.kubeconfig("admin.conf").is_none());
    }

    #[test]
    fn a_kubeconfig_is_told_by_its_two_lines() {
        let of = |text: &str| Listing::parse(text).kubeconfig("a.conf").unwrap();
        let (ca, own) =
            ("a.conf:    certificate-authority-data: Y2E=\n", "a.conf:    client-certificate-data: \"b3du\"\n");
        assert_eq!(of(&format!("{ca}{own}")).unwrap(), (b"ca".to_vec(), b"own".to_vec()));
        assert!(matches!(of(ca), Err(KubeconfigError::Shape { .. })));
        assert!(matches!(of(&format!("{ca}{ca}{own}")), Err(KubeconfigError::Several)));
        let files = "a.conf:    client-certificate: /var/lib/kubelet/pki/kubelet-client-current.pem\n";
        assert!(of(&format!("{ca}{files}")).is_err(), "it names a file");
        assert!(of(&format!("{ca}a.conf: client-certificate-data: ?\n")).is_err());
    }
}
