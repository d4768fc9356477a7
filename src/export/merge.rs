//! A person's own kubeconfig: adds one cluster, user and context, or brings them up to date, and leaves everything else
//! as it is. Pure: bytes in, bytes out. What others keep in such a file is as secret as our keys, so it is read into
//! memory that is wiped, and no message has a value of it but names.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::yaml::{Node, YamlError};
use crate::model::displayed;
use crate::pki::{self, Facts};
use crate::secret::Secret;

/// The largest kubeconfig that is read: thousands of clusters.
pub const LARGEST: usize = 8 << 20;

/// How kubectl gets the certificate and its key.
pub enum Login {
    /// From a program that it runs at each call.
    Exec {
        /// The program: a name on the PATH, or an absolute path.
        command: String,
        /// Its arguments.
        args: Vec<String>,
        /// What kubectl says where the program is missing.
        hint: String,
    },
    /// Both stand in the file, PEM.
    Inline {
        /// The certificate.
        certificate: Vec<u8>,
        /// Its key.
        key: Secret,
    },
    /// The key lies in another file.
    KeyFile {
        /// The certificate, PEM.
        certificate: Vec<u8>,
        /// The absolute path of the key.
        key: String,
    },
}

/// What is added.
pub struct Access<'a> {
    /// The context's name.
    pub context: &'a str,
    /// The name of the cluster's entry.
    pub cluster: &'a str,
    /// The name of the user's entry.
    pub user: &'a str,
    /// The URL of the cluster's API.
    pub server: &'a str,
    /// The CA certificates that the server's may come from, PEM, the issuing one first.
    pub authorities: &'a [u8],
    /// How kubectl gets the certificate.
    pub login: &'a Login,
    /// What tells an entry that an earlier run wrote.
    pub earlier: Earlier<'a>,
}

/// What tells an entry that an earlier run wrote for the same person and cluster from one that is somebody else's.
pub struct Earlier<'a> {
    /// The cluster's name in the repository.
    pub cluster: &'a str,
    /// The person.
    pub person: &'a str,
    /// What this program is called by, beside `kluis`.
    pub program: &'a str,
    /// Every CA of the cluster that the epoch lists.
    pub authorities: &'a [&'a Facts],
}

/// What came of it.
pub struct Merged {
    /// The whole file.
    pub content: Secret,
    /// The context that was current before.
    pub previous: Option<String>,
    /// The context that is current now.
    pub current: Option<String>,
}

/// Why a file is left alone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// It is not YAML, or says what could not be written again.
    #[error(transparent)]
    Yaml(#[from] YamlError),
    /// It is YAML, and no kubeconfig.
    #[error("it is no kubeconfig: {0}")]
    Shape(&'static str),
    /// An entry has our name and is not ours.
    #[error("it has a {kind} {name:?} already, {why}")]
    Foreign {
        /// `cluster`, `user` or `context`.
        kind: &'static str,
        /// Its name.
        name: String,
        /// What it is instead.
        why: &'static str,
    },
}

/// Adds `access` to the kubeconfig `existing`, or to none; `switch` makes its context the current one.
pub fn merge(existing: Option<&Secret>, access: &Access<'_>, switch: bool) -> Result<Merged, MergeError> {
    let mut root = match existing {
        Some(bytes) if !bytes.expose().iter().all(u8::is_ascii_whitespace) => Node::read(bytes, LARGEST)?,
        _ => Node::Null,
    };
    if root == Node::Null {
        root = Node::map([("apiVersion", Node::text("v1")), ("kind", Node::text("Config"))]);
    }
    check_shape(&root)?;
    put(&mut root, ("clusters", "cluster", access.cluster), |old| cluster(old, access))?;
    put(&mut root, ("contexts", "context", access.context), |old| context(old, access))?;
    put(&mut root, ("users", "user", access.user), |old| user(old, access))?;
    let named = |root: &Node| root.get("current-context").and_then(Node::as_text).map(str::to_owned);
    let previous = named(&root).filter(|name| !name.is_empty());
    if switch {
        root.set("current-context", Node::text(access.context));
    }
    Ok(Merged { content: root.write(root.size()), current: named(&root), previous })
}

fn check_shape(root: &Node) -> Result<(), MergeError> {
    if !matches!(root, Node::Map(_)) {
        return Err(MergeError::Shape("there is no map of fields in it"));
    }
    for (field, wanted) in [("apiVersion", "v1"), ("kind", "Config")] {
        if root.get(field).is_some_and(|found| found.as_text() != Some(wanted)) {
            return Err(MergeError::Shape("its kind is not Config of v1"));
        }
    }
    Ok(())
}

/// Puts what `renew` makes of the entry of this name, or of nothing, in its place or at the end of its list.
fn put(
    root: &mut Node,
    (section, kind, name): (&str, &'static str, &str),
    renew: impl FnOnce(Option<&mut Node>) -> Result<Node, (&'static str, &'static str)>,
) -> Result<(), MergeError> {
    if root.get(section).is_none_or(|found| *found == Node::Null) {
        root.set(section, Node::List(Vec::new()));
    }
    let Node::Map(entries) = root else { return Err(MergeError::Shape("there is no map of fields in it")) };
    let list = entries.iter_mut().find(|(key, _)| **key == section).map(|(_, list)| list);
    let Some(Node::List(items)) = list else {
        return Err(MergeError::Shape("its clusters, contexts or users are no list"));
    };
    let foreign = |(kind, why): (&'static str, &'static str)| MergeError::Foreign { kind, name: displayed(name), why };
    let is_named = |item: &Node| item.get("name").and_then(Node::as_text) == Some(name);
    if items.iter().filter(|item| is_named(item)).count() > 1 {
        return Err(foreign((kind, "twice")));
    }
    match items.iter_mut().find(|item| is_named(item)) {
        Some(item) => {
            let mut nothing = Node::Null;
            let old = match item {
                Node::Map(fields) => fields.iter_mut().find(|(key, _)| **key == kind).map(|(_, value)| value),
                _ => None,
            };
            let made = renew(Some(old.unwrap_or(&mut nothing))).map_err(foreign)?;
            item.set(kind, made);
        }
        None => {
            let made = renew(None).map_err(foreign)?;
            items.push(Node::map([(kind, made), ("name", Node::text(name))]));
        }
    }
    Ok(())
}

/// What a person added to an entry of ours stays: a proxy of the cluster's, a namespace of the context's.
fn taken(old: Option<&mut Node>) -> Node {
    match old {
        Some(old @ Node::Map(_)) => std::mem::replace(old, Node::Null),
        _ => Node::map([]),
    }
}

type Refusal = (&'static str, &'static str);

fn cluster(old: Option<&mut Node>, access: &Access<'_>) -> Result<Node, Refusal> {
    let server = old.as_ref().map(|old| old.get("server").and_then(Node::as_text));
    if server.is_some_and(|server| server != Some(access.server)) {
        return Err(("cluster", "for another server"));
    }
    let mut made = taken(old);
    // Both would win over, or contradict, the CA certificates of the epoch.
    made.remove("certificate-authority");
    made.remove("insecure-skip-tls-verify");
    made.set("certificate-authority-data", Node::Text(encode(access.authorities)));
    made.set("server", Node::text(access.server));
    Ok(made)
}

fn context(old: Option<&mut Node>, access: &Access<'_>) -> Result<Node, Refusal> {
    for (field, wanted) in [("cluster", access.cluster), ("user", access.user)] {
        let found = old.as_ref().map(|old| old.get(field).and_then(Node::as_text));
        if found.is_some_and(|found| found != Some(wanted)) {
            return Err(("context", "of another cluster or user"));
        }
    }
    let mut made = taken(old);
    made.set("cluster", Node::text(access.cluster));
    made.set("user", Node::text(access.user));
    Ok(made)
}

fn user(old: Option<&mut Node>, access: &Access<'_>) -> Result<Node, Refusal> {
    if old.is_some_and(|old| !is_earlier(old, access)) {
        return Err(("user", "which kluis did not write for this person and cluster"));
    }
    Ok(match access.login {
        Login::Exec { command, args, hint } => {
            let args = args.iter().map(|arg| Node::text(arg.as_str())).collect();
            let exec = Node::map([
                ("apiVersion", Node::text(EXEC_API)),
                ("args", Node::List(args)),
                ("command", Node::text(command.as_str())),
                ("env", Node::Null),
                ("installHint", Node::text(hint.as_str())),
                ("interactiveMode", Node::text("IfAvailable")),
                ("provideClusterInfo", Node::Bool(false)),
            ]);
            Node::map([("exec", exec)])
        }
        Login::Inline { certificate, key } => Node::map([
            ("client-certificate-data", Node::Text(encode(certificate))),
            ("client-key-data", Node::Text(encode(key.expose()))),
        ]),
        Login::KeyFile { certificate, key } => Node::map([
            ("client-certificate-data", Node::Text(encode(certificate))),
            ("client-key", Node::text(key.as_str())),
        ]),
    })
}

/// The version of kubectl's exec plugins that is spoken (Kubernetes, client.authentication.k8s.io, since 1.22).
pub const EXEC_API: &str = "client.authentication.k8s.io/v1";

/// Whether an earlier run wrote this user: it runs our program for the cluster, or has the person's certificate from a
/// CA of the cluster.
fn is_earlier(user: &Node, access: &Access<'_>) -> bool {
    if let Some(exec) = user.get("exec") {
        let named = exec.get("command").and_then(Node::as_text).unwrap_or_default();
        let is_program = named == access.earlier.program || named.rsplit('/').next() == Some("kluis");
        let Some(Node::List(args)) = exec.get("args") else { return false };
        let args: Vec<&str> = args.iter().filter_map(Node::as_text).collect();
        let for_cluster = args.windows(2).any(|pair| pair == ["-c", access.earlier.cluster]);
        return is_program && args.contains(&"credential") && for_cluster;
    }
    let data = user.get("client-certificate-data").and_then(Node::as_text);
    let facts = data.and_then(|data| STANDARD.decode(data).ok());
    let facts = facts.and_then(|pem| pki::parse_pem(&pem, "CERTIFICATE").ok());
    let Some(facts) = facts.and_then(|der| Facts::read(&der).ok()) else { return false };
    facts.common_name.as_deref() == Some(access.earlier.person)
        && access.earlier.authorities.iter().any(|ca| pki::check_issued_by(&facts, ca).is_ok())
}

/// Base64 in a string of the right size from the start: one that grows leaves copies.
fn encode(bytes: &[u8]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(bytes.len().div_ceil(3) * 4));
    STANDARD.encode_string(bytes, &mut text);
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn exec() -> Login {
        Login::Exec {
            command: "kluis".to_owned(),
            args: ["-C", "/r", "credential", "-c", "prod"].map(str::to_owned).to_vec(),
            hint: "install it".to_owned(),
        }
    }

    fn access(login: &Login) -> Access<'_> {
        Access {
            context: "alice@prod",
            cluster: "prod",
            user: "alice@prod",
            server: "https://api.example.org:6443",
            authorities: b"ca",
            login,
            earlier: Earlier { cluster: "prod", person: "alice", program: "kluis", authorities: &[] },
        }
    }

    fn merged(existing: &str) -> Result<String, MergeError> {
        let login = exec();
        let merged = merge(Some(&Secret::new(existing.as_bytes().to_vec())), &access(&login), true)?;
        Ok(String::from_utf8(merged.content.expose().to_vec()).unwrap())
    }

    const ALONE: &str = "apiVersion: v1
kind: Config
clusters:
- cluster:
    certificate-authority-data: Y2E=
    server: https://api.example.org:6443
  name: prod
contexts:
- context:
    cluster: prod
    user: alice@prod
  name: alice@prod
users:
- name: alice@prod
  user:
    exec:
      apiVersion: client.authentication.k8s.io/v1
      args:
      - \"-C\"
      - /r
      - credential
      - \"-c\"
      - prod
      command: kluis
      env: null
      installHint: \"install it\"
      interactiveMode: IfAvailable
      provideClusterInfo: false
current-context: alice@prod
";

    #[test]
    fn nothing_becomes_a_whole_kubeconfig() {
        // An entry of kubectl's has its name last or first; what kluis adds is found either way.
        let expected = ALONE
            .replace("- name: alice@prod\n  user:", "- user:")
            .replace("      provideClusterInfo: false\n", "      provideClusterInfo: false\n  name: alice@prod\n");
        for empty in ["", "\n", "null", "{}"] {
            assert_eq!(merged(empty).unwrap().replace("apiVersion: v1\nkind: Config\n", ""), {
                expected.replace("apiVersion: v1\nkind: Config\n", "")
            });
        }
        assert_eq!(merged(ALONE).unwrap(), ALONE);
    }

    #[test]
    fn what_a_person_added_to_our_entries_stays_and_what_would_weaken_them_does_not() {
        let theirs = ALONE
            .replace("    user: alice@prod\n  name", "    namespace: shop\n    user: alice@prod\n  name")
            .replace("    server:", "    insecure-skip-tls-verify: true\n    proxy-url: http://p\n    server:");
        let after = merged(&theirs).unwrap();
        assert!(
            after.contains("namespace: shop") && after.contains("proxy-url: \"http://p\"")
                || after.contains("proxy-url: http://p")
        );
        assert!(!after.contains("insecure"));
    }

    #[test]
    fn entries_of_our_names_that_are_not_ours_are_refused() {
        for (from, to, kind) in [
            ("https://api.example.org:6443", "https://evil.example.org", "cluster"),
            ("    cluster: prod\n", "    cluster: other\n", "context"),
            ("    user: alice@prod\n", "    user: bob\n", "context"),
            ("command: kluis", "command: aws", "user"),
            ("- credential", "- status", "user"),
            ("      - prod\n", "      - test\n", "user"),
        ] {
            let text = ALONE.replace(from, to);
            assert_ne!(text, ALONE);
            match merged(&text).unwrap_err() {
                MergeError::Foreign { kind: found, .. } => assert_eq!(found, kind),
                other => panic!("{other}"),
            }
        }
        let token =
            ALONE.split("users:").next().unwrap().to_owned() + "users:\n- name: alice@prod\n  user:\n    token: t0p\n";
        let error = merged(&token).unwrap_err().to_string();
        assert!(error.contains("alice@prod") && !error.contains("t0p"), "{error}");
        let twice = "clusters:\n- name: prod\n  cluster: {}\n- name: prod\n  cluster: {}\n";
        assert!(merged(twice).unwrap_err().to_string().contains("twice"));
        for text in ["- a", "a", "kind: Pod", "apiVersion: v2", "clusters: {}", "users: x"] {
            assert!(matches!(merged(text), Err(MergeError::Shape(_))), "{text}");
        }
    }

    #[test]
    fn a_current_context_is_left_alone_unless_it_is_to_be_switched() {
        let login = exec();
        let existing = Secret::new(b"current-context: other\n".to_vec());
        for (switch, current) in [(true, "alice@prod"), (false, "other")] {
            let merged = merge(Some(&existing), &access(&login), switch).unwrap();
            assert_eq!(merged.previous.as_deref(), Some("other"));
            assert_eq!(merged.current.as_deref(), Some(current));
        }
        assert_eq!(merge(None, &access(&login), false).unwrap().current, None);
    }

    fn others() -> impl Strategy<Value = String> {
        let name = "(prod|alice|[a-z]{1,4}|1e3|yes)";
        let entry = |kind: &'static str, fields: &'static str| {
            (name, fields)
                .prop_map(move |(name, fields)| (name.clone(), format!("- {kind}:\n    {fields}\n  name: '{name}'\n")))
        };
        let clusters = prop::collection::btree_map(name, "server: https://[a-z]{3}\\.example\\.net", 0..3);
        let users = prop::collection::vec(entry("user", "token: [a-zA-Z0-9]{8}"), 0..3);
        let contexts = prop::collection::vec(entry("context", "(namespace|user): [a-z]{3}"), 0..3);
        (clusters, users, contexts, "(current-context: x\n)?(preferences: \\{\\}\n)?").prop_map(
            |(clusters, users, contexts, more)| {
                let mut text = more;
                let clusters: Vec<String> = clusters
                    .into_iter()
                    .filter(|(name, _)| name != "prod")
                    .map(|(name, server)| format!("- cluster:\n    {server}\n  name: '{name}'\n"))
                    .collect();
                for (section, entries) in [
                    ("clusters", clusters),
                    ("users", users.into_iter().map(|(_, text)| text).collect()),
                    ("contexts", contexts.into_iter().map(|(_, text)| text).collect()),
                ] {
                    if !entries.is_empty() {
                        text += &format!("{section}:\n{}", entries.concat());
                    }
                }
                text
            },
        )
    }

    fn items<'a>(root: &'a Node, section: &str) -> Vec<&'a Node> {
        match root.get(section) {
            Some(Node::List(items)) => items.iter().collect(),
            _ => Vec::new(),
        }
    }

    proptest! {
        #[test]
        fn entries_of_others_stay_and_a_second_run_changes_nothing(text in others()) {
            let login = exec();
            let read = |bytes: &Secret| Node::read(bytes, LARGEST).unwrap();
            let existing = Secret::new(text.clone().into_bytes());
            let before = if text.is_empty() { Node::map([]) } else { read(&existing) };
            let once = merge(Some(&existing), &access(&login), true).unwrap();
            let after = read(&once.content);
            for section in ["clusters", "users", "contexts"] {
                let (before, after) = (items(&before, section), items(&after, section));
                prop_assert!(after.len() == before.len() + 1, "{text}");
                prop_assert!(before.iter().zip(&after).all(|(one, other)| one == other), "{text}");
            }
            prop_assert!(before.get("preferences") == after.get("preferences"));
            let twice = merge(Some(&once.content), &access(&login), true).unwrap();
            prop_assert!(twice.content.expose() == once.content.expose());
        }
    }
}
