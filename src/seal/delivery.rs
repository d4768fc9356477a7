//! Sealing an export for its way to a node: age, to the node's SSH host key, an age recipient or a plugin's, so that stock
//! `age -d` opens it there. What is sealed, and to whom it has to be, is for whoever asks. Never opens anything.

use std::io::Write as _;

use age::{armor, plugin, ssh, x25519};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

use crate::model::{Digest, displayed};
use crate::secret::Secret;

/// The SSH key types that age seals to.
const SSH: [&str; 2] = ["ssh-ed25519", "ssh-rsa"];

/// Somebody to whom an export is sealed.
#[derive(Clone)]
pub struct Recipient {
    /// As `authorized_keys` or age have it, without a comment.
    text: String,
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    Age(x25519::Recipient),
    Ssh(ssh::Recipient),
    Plugin(plugin::Recipient),
}

/// Why something can't be sealed.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryFault {
    /// The text is no recipient.
    #[error("{text:?} is no recipient: {why}")]
    NoRecipient {
        /// What was given.
        text: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The text is a private key. Never quoted: errors end in logs.
    #[error(
        "that is a private key, and its public half is the recipient. It stood on a command line, where other users of this \
         machine can read it: give whatever it belongs to another one"
    )]
    Private,
    /// age, or one of its plugins, failed.
    #[error("age can't seal: {0}")]
    Age(#[source] age::EncryptError),
    /// Writing to memory failed, or a plugin broke off.
    #[error("age can't seal: {0}")]
    Io(#[from] std::io::Error),
}

impl Recipient {
    /// Reads one recipient: an OpenSSH public key of type `ssh-ed25519` or `ssh-rsa` (2048 bits and more), `age1…`, or a plugin's
    /// `age1NAME1…`.
    pub fn parse(text: &str) -> Result<Self, DeliveryFault> {
        if ["PRIVATE KEY", "AGE-SECRET-KEY-", "AGE-PLUGIN-"].iter().any(|word| text.contains(word)) {
            return Err(DeliveryFault::Private);
        }
        let fault = |why| DeliveryFault::NoRecipient { text: displayed(text).chars().take(60).collect(), why };
        let words: Vec<&str> = text.split_whitespace().collect();
        match words.as_slice() {
            [kind, key, ..] if SSH.contains(kind) => {
                let text = format!("{kind} {key}");
                let kind = text.parse().map_err(|error| fault(ssh_fault(&error)))?;
                Ok(Self { text, kind: Kind::Ssh(kind) })
            }
            [kind, _, ..] if kind.starts_with("ecdsa-") || kind.starts_with("sk-") || kind.starts_with("ssh-") => {
                Err(fault("age seals to SSH keys of type ssh-ed25519 and ssh-rsa alone"))
            }
            [one] if one.starts_with("age1") => {
                let text = (*one).to_owned();
                let own = one.parse().map(Kind::Age).map_err(|_| ());
                let kind = own.or_else(|()| one.parse().map(Kind::Plugin));
                Ok(Self { kind: kind.map_err(|_| fault("it looks like age's, and is damaged"))?, text })
            }
            _ => Err(fault("it looks like ssh-ed25519 AAAA…, ssh-rsa AAAA… or age1…")),
        }
    }

    /// Reads recipients, one a line, as `ssh-keyscan` prints them too: comments and host names are left out, and so are keys of
    /// types that age does not know where others are there. Fails where none is left, and where a line is no key.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, DeliveryFault> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let (mut found, mut fault) = (Vec::<Self>::new(), None);
        for line in lines {
            let key = line.split_once(char::is_whitespace).map_or(line, |(first, rest)| {
                let is_type =
                    |word: &str| word.starts_with("ssh-") || word.starts_with("ecdsa-") || word.starts_with("sk-");
                if !is_type(first) && is_type(rest.trim_start()) { rest.trim_start() } else { line }
            });
            match Self::parse(key) {
                Ok(one) if !found.iter().any(|known| known.is(&one)) => found.push(one),
                Ok(_) => {}
                Err(error) if ["ssh-", "ecdsa-", "sk-"].iter().any(|kind| key.starts_with(kind)) => {
                    fault = fault.or(Some(error));
                }
                Err(error) => return Err(error),
            }
        }
        let nothing = || DeliveryFault::NoRecipient { text: String::new(), why: "there is none" };
        if found.is_empty() { Err(fault.unwrap_or_else(nothing)) } else { Ok(found) }
    }

    /// Whether it is the same key.
    pub fn is(&self, other: &Self) -> bool {
        self.text == other.text
    }

    /// How people compare it: `ssh-ed25519 SHA256:…` as `ssh-keygen -l` prints it, or age's own text.
    pub fn fingerprint(&self) -> String {
        let blob = self.text.split_once(' ').and_then(|(kind, key)| Some((kind, STANDARD.decode(key).ok()?)));
        match blob {
            Some((kind, blob)) => format!("{kind} SHA256:{}", STANDARD_NO_PAD.encode(Digest::of(&blob).as_bytes())),
            None => self.text.clone(),
        }
    }

    /// What opens it, as an argument of `age -d -i`.
    pub fn identity(&self) -> &'static str {
        match &self.kind {
            Kind::Ssh(_) if self.text.starts_with("ssh-rsa") => "/etc/ssh/ssh_host_rsa_key",
            Kind::Ssh(_) => "/etc/ssh/ssh_host_ed25519_key",
            Kind::Age(_) | Kind::Plugin(_) => "IDENTITY",
        }
    }
}

fn ssh_fault(error: &ssh::ParseRecipientKeyError) -> &'static str {
    match error {
        ssh::ParseRecipientKeyError::RsaModulusTooSmall => "RSA keys of less than 2048 bits are weak",
        ssh::ParseRecipientKeyError::RsaModulusTooLarge => "its RSA key is larger than age takes",
        _ => "its key is damaged",
    }
}

/// Seals to all of `recipients`: one armored age file. A plugin's recipient runs `age-plugin-NAME` from the PATH, which sees the
/// file's key: whoever names such a recipient trusts what is installed under that name, as with stock age.
pub fn seal(content: &Secret, recipients: &[Recipient]) -> Result<String, DeliveryFault> {
    let plugins = plugins(recipients)?;
    let own = recipients.iter().filter_map(|one| match &one.kind {
        Kind::Age(recipient) => Some(recipient as &dyn age::Recipient),
        Kind::Ssh(recipient) => Some(recipient as &dyn age::Recipient),
        Kind::Plugin(_) => None,
    });
    let all = own.chain(plugins.iter().map(|plugin| plugin as &dyn age::Recipient));
    let encryptor = age::Encryptor::with_recipients(all).map_err(DeliveryFault::Age)?;
    let mut sealed = Vec::new();
    let armored = armor::ArmoredWriter::wrap_output(&mut sealed, armor::Format::AsciiArmor)?;
    let mut writer = encryptor.wrap_output(armored)?;
    writer.write_all(content.expose())?;
    writer.finish()?.finish()?;
    String::from_utf8(sealed).map_err(|error| std::io::Error::other(error).into())
}

/// One run of each plugin, for all of its recipients. Fails where one is not installed.
pub fn plugins(recipients: &[Recipient]) -> Result<Vec<plugin::RecipientPluginV1<age::NoCallbacks>>, DeliveryFault> {
    let all: Vec<plugin::Recipient> = recipients
        .iter()
        .filter_map(|one| match &one.kind {
            Kind::Plugin(recipient) => Some(recipient.clone()),
            _ => None,
        })
        .collect();
    let names: std::collections::BTreeSet<&str> = all.iter().map(plugin::Recipient::plugin).collect();
    let run = |name: &str| plugin::RecipientPluginV1::new(name, &all, &[], age::NoCallbacks);
    names.into_iter().map(|name| run(name).map_err(DeliveryFault::Age)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsKLqeplhpW+uObz5dvMgjz1OxfM/XXUB+VHtZ6isGN";

    #[test]
    fn what_ssh_keyscan_prints_is_read_and_other_types_are_left_out() {
        let scan = format!(
            "# cp-1:22 SSH-2.0-OpenSSH_9.2\ncp-1 {HOST}\n\ncp-1 ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTY=\ncp-1,10.0.0.1 {HOST} x\n"
        );
        let found = Recipient::parse_all(&scan).unwrap();
        assert_eq!(found.len(), 1);
        assert!(found[0].is(&Recipient::parse(HOST).unwrap()));
        assert_eq!(found[0].fingerprint().split(' ').next(), Some("ssh-ed25519"));
    }

    #[test]
    fn what_is_no_recipient_says_why() {
        for (text, says) in [
            ("", "there is none"),
            ("# nothing", "there is none"),
            ("cp-1", "it looks like ssh-ed25519"),
            ("ecdsa-sha2-nistp256 AAAA", "alone"),
            ("ssh-ed25519 AAAA", "damaged"),
            ("age1qqqq", "damaged"),
            ("-----BEGIN", "it looks like"),
        ] {
            let error = Recipient::parse_all(text).err().unwrap().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn it_opens_with_the_key_and_no_other() {
        let (one, other) = (x25519::Identity::generate(), x25519::Identity::generate());
        let recipient = Recipient::parse(&one.to_public().to_string()).unwrap();
        let sealed = seal(&Secret::new(b"secret".to_vec()), &[recipient]).unwrap();
        assert!(sealed.starts_with("-----BEGIN AGE ENCRYPTED FILE-----\n"));
        let opens = |identity: &x25519::Identity| {
            let decryptor = age::Decryptor::new(armor::ArmoredReader::new(sealed.as_bytes())).unwrap();
            let mut text = String::new();
            let mut reader = decryptor.decrypt(std::iter::once(identity as &dyn age::Identity)).ok()?;
            std::io::Read::read_to_string(&mut reader, &mut text).ok()?;
            Some(text)
        };
        assert_eq!(opens(&one).as_deref(), Some("secret"));
        assert_eq!(opens(&other), None);
    }
}
