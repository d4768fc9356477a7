//! A PKI in the layout of kubeadm, made with openssl alone: a good one, in which `kluis lint` finds nothing, and copies of it
//! in which a test makes one thing worse.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kluis::cli::Machine;
use kluis::env::Terminal;
use kluis::model::{Span, Time};

pub const P256: &str = "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256";
pub const CA: &str =
    "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash";
pub const CLIENT: &str = "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n\
    extendedKeyUsage=clientAuth\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid";
pub const SERVER_NAMES: &str = "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,\
    DNS:kubernetes.default.svc.cluster.local,DNS:localhost,IP:127.0.0.1,IP:::1,IP:10.96.0.1,IP:10.0.0.11,DNS:api.example.org";
pub const MEMBER_NAMES: &str = "DNS:cp-1,DNS:localhost,IP:127.0.0.1,IP:::1,IP:10.0.0.11";
const CONFIG: &str = "[ca]\ndefault_ca=d\n[d]\nnew_certs_dir=.\ndatabase=index\nserial=serial\nunique_subject=no\n\
    policy=p\ndefault_md=default\n[p]\ncountryName=optional\norganizationName=optional\ncommonName=optional\n\
    [req]\ndistinguished_name=n\n[n]\n";

/// The extensions of a server, for these names.
pub fn server(names: &str) -> String {
    format!("{}\nsubjectAltName={names}", CLIENT.replace("clientAuth", "serverAuth"))
}

/// The extensions of an etcd member.
pub fn member() -> String {
    format!("{}\nsubjectAltName={MEMBER_NAMES}", CLIENT.replace("clientAuth", "serverAuth,clientAuth"))
}

/// A certificate to make, with what is special of it.
#[derive(Clone, Copy)]
pub struct Make<'a> {
    /// `/O=…/CN=…`.
    pub subject: &'a str,
    /// Lines of extensions.
    pub extensions: &'a str,
    /// Where the issuer lies, without ending; itself if none.
    pub issuer: Option<&'a str>,
    /// How openssl makes the key; none keeps the one that is there.
    pub key: Option<&'a str>,
    /// Hours from now.
    pub life: (i64, i64),
    /// More words for `openssl ca`.
    pub words: &'a str,
    /// The serial number in hex; a random one if none.
    pub serial: Option<&'a str>,
}

/// A CA of its own key, for ten years.
pub const AUTHORITY: Make<'_> = Make {
    subject: "/CN=kubernetes-ca-g1",
    extensions: CA,
    issuer: None,
    key: Some(P256),
    life: (-1, 24 * 3650),
    words: "",
    serial: None,
};

/// A client of the cluster's CA, for a year.
pub const LEAF: Make<'_> = Make { extensions: CLIENT, issuer: Some("pki/ca"), life: (-1, 24 * 364), ..AUTHORITY };

/// A folder like `/etc/kubernetes`.
pub struct Pki {
    scratch: tempfile::TempDir,
    pub now: Time,
}

fn succeeds(dir: &Path, words: &str) {
    let output = Command::new("openssl").current_dir(dir).args(words.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "openssl {words}: {}", String::from_utf8_lossy(&output.stderr));
}

/// `261120180000Z`, or with the century.
fn stamp(time: Time) -> String {
    time.to_string().chars().filter(|c| !matches!(c, '-' | ':' | 'T')).collect()
}

impl Pki {
    fn empty(now: Time) -> Self {
        Self { scratch: tempfile::tempdir().unwrap(), now }
    }

    /// A copy of the good one.
    pub fn good() -> Self {
        static GOOD: OnceLock<Pki> = OnceLock::new();
        let good = GOOD.get_or_init(Self::make_good);
        let copy = Self::empty(good.now);
        let status = Command::new("cp").args(["-r", "-p"]).arg(good.root()).arg(copy.scratch.path()).status().unwrap();
        assert!(status.success());
        copy
    }

    pub fn root(&self) -> PathBuf {
        self.scratch.path().join("kubernetes")
    }

    pub fn at(&self, place: &str) -> PathBuf {
        self.root().join(place)
    }

    /// Makes a key and a certificate: `PLACE.key` and `PLACE.crt`.
    pub fn make(&self, place: &str, make: &Make<'_>) {
        let dir = self.scratch.path();
        let (key, crt) = (format!("kubernetes/{place}.key"), format!("kubernetes/{place}.crt"));
        fs::create_dir_all(dir.join(&key).parent().unwrap()).unwrap();
        if let Some(words) = make.key {
            succeeds(dir, &format!("{words} -out {key}"));
        }
        fs::set_permissions(dir.join(&key), fs::Permissions::from_mode(0o600)).unwrap();
        let serial = make.serial.map_or_else(|| format!("5A{}", random_hex()), str::to_owned);
        fs::write(dir.join("serial"), serial).unwrap();
        fs::write(dir.join("index"), "").unwrap();
        fs::write(dir.join("config"), CONFIG).unwrap();
        fs::write(dir.join("extensions"), format!("[e]\n{}\n", make.extensions)).unwrap();
        let hours = |hours: i64| Time::from_unix(self.now.unix() + hours * 3600);
        succeeds(dir, &format!("req -new -key {key} -subj {} -config config -utf8 -out request", make.subject));
        let issuer = match make.issuer {
            None => format!("-selfsign -keyfile {key}"),
            Some(issuer) => format!("-cert kubernetes/{issuer}.crt -keyfile kubernetes/{issuer}.key"),
        };
        succeeds(
            dir,
            &format!(
                "ca -config config -in request -out {crt} -notext -batch -preserveDN -startdate {} -enddate {} \
             -extfile extensions -extensions e {issuer} {}",
                stamp(hours(make.life.0)),
                stamp(hours(make.life.1)),
                make.words
            ),
        );
    }

    /// Runs openssl in the folder.
    pub fn openssl(&self, words: &str) {
        succeeds(&self.root(), words);
    }

    pub fn read(&self, place: &str) -> String {
        fs::read_to_string(self.at(place)).unwrap()
    }

    pub fn write(&self, place: &str, text: &str) {
        let path = self.at(place);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        let mode = if place.ends_with(".crt") || place.ends_with(".yaml") { 0o644 } else { 0o600 };
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    pub fn remove(&self, place: &str) {
        fs::remove_file(self.at(place)).unwrap();
    }

    /// Writes a kubeconfig with the certificate and key of `pair`, which are taken away.
    pub fn kubeconfig(&self, place: &str, server: &str, pair: &str) {
        let data = |path: &str| STANDARD.encode(self.read(path));
        let text = format!(
            "apiVersion: v1\nkind: Config\nclusters:\n- name: k\n  cluster:\n    server: {server}\n    \
             certificate-authority-data: {}\nusers:\n- name: u\n  user:\n    client-certificate-data: {}\n    \
             client-key-data: {}\ncontexts:\n- name: u@k\n  context: {{cluster: k, user: u}}\ncurrent-context: u@k\n",
            data("pki/ca.crt"),
            data(&format!("{pair}.crt")),
            data(&format!("{pair}.key"))
        );
        self.write(place, &text);
        self.remove(&format!("{pair}.crt"));
        self.remove(&format!("{pair}.key"));
    }

    /// A kubeconfig for a new certificate.
    pub fn access(&self, place: &str, server: &str, make: &Make<'_>) {
        self.make("new", make);
        self.kubeconfig(place, server, "new");
    }

    /// Runs `kluis lint WORDS PATH`; exit code and what it printed.
    pub fn run(&self, words: &str, paths: &[&Path]) -> (u8, String) {
        let form = if words.contains("-o ") { "" } else { "-o json " };
        let words = format!("-C / lint {form}{words}");
        let args = words.split_whitespace().map(OsString::from);
        let args = args.chain(paths.iter().map(|path| path.as_os_str().to_owned()));
        let machine =
            Machine { now: self.now, terminal: Terminal::nobody(), state: Some(self.scratch.path().join("state")) };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let exit = kluis::cli::run(args, machine, &mut out, &mut err);
        (exit, String::from_utf8(out).unwrap())
    }

    /// The rules that the folder breaks, with level: `CA001 error`.
    pub fn found(&self, words: &str) -> BTreeSet<String> {
        self.found_in(words, &[&self.root()])
    }

    /// The rules that these paths break.
    pub fn found_in(&self, words: &str, paths: &[&Path]) -> BTreeSet<String> {
        let (_, out) = self.run(words, paths);
        let report: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert!(report["data"]["error"].is_null(), "{out}");
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        report["findings"]
            .as_array()
            .unwrap()
            .iter()
            .map(|f| format!("{} {}", text(&f["code"]), text(&f["level"])))
            .collect()
    }

    fn make_good() -> Self {
        let seconds = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        // A minute on, so that what openssl begins now has begun.
        let pki = Self::empty(Time::from_unix(i64::try_from(seconds).unwrap()).plus(Span::minutes(1)));
        pki.make("pki/ca", &AUTHORITY);
        pki.make("pki/front-proxy-ca", &Make { subject: "/CN=front-proxy-ca-g1", ..AUTHORITY });
        pki.make("pki/etcd/ca", &Make { subject: "/CN=etcd-ca-g1", ..AUTHORITY });
        pki.make("pki/apiserver", &Make { subject: "/CN=kube-apiserver", extensions: &server(SERVER_NAMES), ..LEAF });
        pki.make("pki/apiserver-kubelet-client", &Make { subject: "/CN=kube-apiserver-kubelet-client", ..LEAF });
        let proxy = Make { subject: "/CN=front-proxy-client", issuer: Some("pki/front-proxy-ca"), ..LEAF };
        pki.make("pki/front-proxy-client", &proxy);
        let etcd = Make { subject: "/CN=cp-1", extensions: &member(), issuer: Some("pki/etcd/ca"), ..LEAF };
        pki.make("pki/etcd/server", &etcd);
        pki.make("pki/etcd/peer", &etcd);
        let client = |subject| Make { subject, issuer: Some("pki/etcd/ca"), ..LEAF };
        pki.make("pki/etcd/healthcheck-client", &client("/CN=kube-etcd-healthcheck-client"));
        pki.make("pki/apiserver-etcd-client", &client("/CN=kube-apiserver-etcd-client"));
        let local = "https://10.0.0.11:6443";
        let admin = Make { subject: "/O=kubeadm:cluster-admins/CN=kubernetes-admin", life: (-1, 12), ..LEAF };
        pki.access("admin.conf", "https://api.example.org:6443", &admin);
        let glass = Make { subject: "/O=system:masters/CN=kubernetes-super-admin", life: (-1, 4), ..LEAF };
        pki.access("super-admin.conf", "https://api.example.org:6443", &glass);
        pki.access("controller-manager.conf", local, &Make { subject: "/CN=system:kube-controller-manager", ..LEAF });
        pki.access("scheduler.conf", local, &Make { subject: "/CN=system:kube-scheduler", ..LEAF });
        pki.access("kubelet.conf", local, &Make { subject: "/O=system:nodes/CN=system:node:cp-1", ..LEAF });
        let kubelet = server("DNS:cp-1,IP:10.0.0.11");
        let serving = Make { subject: "/O=system:nodes/CN=system:node:cp-1", extensions: &kubelet, ..LEAF };
        pki.make("kubelet/kubelet", &serving);
        pki.openssl(&format!("{P256} -out pki/sa.key"));
        pki.openssl("pkey -in pki/sa.key -pubout -out pki/sa.pub");
        pki.write("pki/encryption-config.yaml", &encryption("secretbox", &[7; 32]));
        let manifest = "spec:\n  containers:\n  - command:\n    - kube-apiserver\n    - --advertise-address=10.0.0.11\n    \
            - --service-cluster-ip-range=10.96.0.0/12\n    - --requestheader-allowed-names=front-proxy-client\n    \
            image: registry.k8s.io/kube-apiserver:v1.36.3\n";
        pki.write("manifests/kube-apiserver.yaml", manifest);
        pki
    }
}

/// An EncryptionConfiguration with one key.
pub fn encryption(provider: &str, key: &[u8]) -> String {
    format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  \
         providers:\n  - {provider}: {{keys: [{{name: key1, secret: {}}}]}}\n  - identity: {{}}\n",
        STANDARD.encode(key)
    )
}

fn random_hex() -> String {
    use std::hash::{BuildHasher as _, Hasher as _};
    let mut random = String::new();
    for _ in 0..2 {
        let state = std::collections::hash_map::RandomState::new();
        random += &format!("{:016X}", state.build_hasher().finish());
    }
    random[..30].to_owned()
}
