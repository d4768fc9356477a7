//! The valid repository: two roots, two clusters, one epoch, two records.

use super::*;

/// How an epoch is put together.
#[derive(Clone)]
pub struct EpochText {
    pub number: u32,
    pub previous: Option<String>,
    pub created: String,
    pub expires: String,
    pub trust: u32,
    pub break_glass: u32,
    pub persons: Vec<(String, String)>,
    pub clusters: Vec<(String, String)>,
    pub former: String,
    pub closes: Option<(Vec<String>, u32)>,
}

impl EpochText {
    pub fn text(&self) -> String {
        let mut text = format!("format = \"kluis/epoch/1\"\nrepo = \"{REPO}\"\nnumber = {}\n", self.number);
        if let Some(previous) = &self.previous {
            text += &format!("previous = \"{previous}\"\n");
        }
        text += &format!("created = {}\nexpires = {}\nreason = \"test\"\n", self.created, self.expires);
        text += &format!("\n[threshold]\ntrust = {}\nbreak_glass = {}\n", self.trust, self.break_glass);
        text += "\n[policy]\nmax_client = \"90d\"\nmax_break_glass = \"8h\"\nmax_quiet = \"90d\"\n";
        for (_, table) in self.persons.iter().chain(&self.clusters) {
            text += &format!("\n{table}");
        }
        text += &self.former;
        if let Some((heads, count)) = &self.closes {
            text += &format!("\n[closes]\nheads = {}\ncount = {count}\n", list(heads));
        }
        text
    }
}

pub fn list(values: &[String]) -> String {
    if values.is_empty() {
        return "[]".to_owned();
    }
    format!("[\n{}]", values.iter().map(|value| format!("    \"{value}\",\n")).collect::<String>())
}

pub fn person_table(stock: &Stock, name: &str, role: &str) -> (String, String) {
    let person = stock.person(name);
    let hash = sha256(stock.read(&format!("pubkeys/{name}.asc")));
    let table = format!(
        "[person.{name}]\nrole = \"{role}\"\ncert = \"{0}\"\ncert_sha256 = \"{hash}\"\nsign = [\n    \"{0}\",\n]\nencrypt = [\n    \"{1}\",\n]\n",
        person.primary, person.subkey
    );
    (name.to_owned(), table)
}

pub fn cluster_table(
    name: &str,
    id: &str,
    keyholders: &[&str],
    issuers: &[&str],
    groups: &[(&str, &[&str])],
    keysets: &[(&str, &[(u32, String)])],
) -> (String, String) {
    let owned = |names: &[&str]| list(&names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>());
    let api = API.replace("prod", name);
    let mut table = format!(
        "[cluster.{name}]\nid = \"{id}\"\napi = \"{api}\"\nkeyholders = {}\nissuers = {}\n\n[cluster.{name}.groups]\n",
        owned(keyholders),
        owned(issuers)
    );
    for (person, names) in groups {
        table += &format!("{person} = {}\n", owned(names));
    }
    for (keyset, generations) in keysets {
        table += &format!("\n[cluster.{name}.keyset.{keyset}]\n");
        for (number, hash) in *generations {
            table += &format!("g{number} = \"{hash}\"\n");
        }
    }
    (name.to_owned(), table)
}

pub const LEAF: &str = "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth\n\
    subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\nsubjectAltName=DNS:kubernetes,IP:10.96.0.1\n";

pub const CONFIG: &str = "# What this cluster should be.\ndistribution = \"kubeadm\"\nkubernetes = \"1.36\"\n";

/// A `[[sealed]]` entry and its file.
pub fn seal(stock: &Stock, path: &str, plain: &str, key: (&str, &str), names: &[&str], revision: u32) -> String {
    let bytes = stock.encrypt(plain, names, &[]);
    stock.write(path, &bytes);
    sealed_entry(stock, path, &bytes, key, names, revision)
}

pub fn sealed_entry(
    stock: &Stock,
    path: &str,
    bytes: &[u8],
    (name, id): (&str, &str),
    names: &[&str],
    revision: u32,
) -> String {
    let recipients: String = names
        .iter()
        .map(|name| format!("    {{ person = \"{name}\", key = \"{}\" }},\n", stock.person(name).subkey))
        .collect();
    let hash = sha256(bytes);
    format!(
        "\n[[sealed]]\npath = \"{path}\"\nrevision = {revision}\nsha256 = \"{hash}\"\nrecipients = [\n{recipients}]\npublic = [\n    {{ name = \"{name}\", id = \"{id}\" }},\n]\n"
    )
}

pub fn phase(cluster: &str, keyset: &str, generation: u32, state: &str) -> String {
    format!(
        "\n[[phase]]\ncluster = \"{cluster}\"\nkeyset = \"{keyset}\"\ngeneration = {generation}\nstate = \"{state}\"\n"
    )
}

/// An `[[issued]]` entry for a certificate under `work`.
pub fn issued(stock: &Stock, path: &str, name: &str, ca: &str, subject: &str) -> String {
    let serial = String::from_utf8(stock.openssl(&format!("x509 -in {name}.crt -noout -serial")).stdout).unwrap();
    let serial = serial.trim().trim_start_matches("serial=").to_lowercase();
    format!(
        "\n[[issued]]\npath = \"{path}\"\nsubject = \"{subject}\"\nserial = \"{serial}\"\nsha256 = \"{}\"\nspki = \"{}\"\nissuer = \"{}\"\nnot_before = {}\nnot_after = {}\n",
        sha256(stock.der(name)),
        stock.spki(name),
        sha256(stock.der(ca)),
        stock.date(name, "startdate"),
        stock.date(name, "enddate"),
    )
}

/// The head of a record.
pub fn record_head(stock: &Stock, actor: &str, epoch: u32, parents: &[String], time: &str) -> String {
    let hash = sha256(stock.read(&format!("trust/epoch/{epoch:04}.toml")));
    record_head_of(REPO, &hash, actor, epoch, parents, time)
}

pub fn record_head_of(repo: &str, epoch_hash: &str, actor: &str, epoch: u32, parents: &[String], time: &str) -> String {
    let mut parents = parents.to_vec();
    parents.sort();
    format!(
        "format = \"kluis/record/1\"\nrepo = \"{repo}\"\nepoch = {epoch}\nepoch_sha256 = \"{epoch_hash}\"\nactor = \"{actor}\"\ntime = {time}\ncommand = \"by hand\"\nreason = \"\"\nparents = {}\n",
        list(&parents)
    )
}

/// Epoch 1 of the valid repository.
pub fn first_epoch(stock: &Stock) -> EpochText {
    let hash = |ca: &str| sha256(stock.der(ca));
    let everyone: &[&str] = &["alice", "bob"];
    let groups: &[(&str, &[&str])] = &[("alice", &["kluis:admins"])];
    let prod: &[(&str, &[(u32, String)])] =
        &[("kubernetes", &[(1, hash("prod-ca"))]), ("service-account", &[(1, stock.spki("prod-sa"))])];
    let stage: &[(&str, &[(u32, String)])] = &[("kubernetes", &[(1, hash("stage-ca"))])];
    EpochText {
        number: 1,
        previous: None,
        created: stock.now("-2 hours"),
        expires: stock.now("+300 days"),
        trust: 2,
        break_glass: 2,
        persons: vec![person_table(stock, "alice", "root"), person_table(stock, "bob", "root")],
        clusters: vec![
            cluster_table("prod", PROD, everyone, everyone, groups, prod),
            cluster_table("stage", STAGE, everyone, &["alice"], &[], stage),
        ],
        former: String::new(),
        closes: None,
    }
}

/// Writes the whole repository.
pub fn write() -> Stock {
    let mut stock = Stock::with_people(&["alice", "bob", "carol", "mallory"]);
    for name in ["alice", "bob"] {
        stock.write(&format!("pubkeys/{name}.asc"), stock.certificate(name));
    }
    for cluster in ["prod", "stage"] {
        let ca = stock.make_ca(&format!("{cluster}-ca"), &format!("kubernetes-ca-g1-{cluster}"));
        stock.write(&format!("clusters/{cluster}/ca/kubernetes.g1.crt"), ca);
        stock.write(
            &format!("clusters/{cluster}/cluster.toml"),
            format!("{CONFIG}endpoint = \"{}\"\n", API.replace("prod", cluster)),
        );
    }
    stock.openssl("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out prod-sa.key");
    stock.write("clusters/prod/sa/g1.pub", stock.openssl("pkey -in prod-sa.key -pubout").stdout);
    let leaf = stock.make_leaf("cp-1", "prod-ca", "/CN=kube-apiserver", LEAF, 365);
    stock.write("clusters/prod/certs/node/cp-1/apiserver.crt", leaf);

    let epoch = first_epoch(&stock).text();
    stock.write("trust/epoch/0001.toml", epoch);
    stock.sign_epoch(1, &["alice", "bob"]);

    let both: &[&str] = &["alice", "bob"];
    let mut record = record_head(&stock, "alice", 1, &[], &stock.now("-2 minutes"));
    for cluster in ["prod", "stage"] {
        let path = format!("clusters/{cluster}/cluster.toml");
        record += &format!("\n[[config]]\npath = \"{path}\"\nsha256 = \"{}\"\n", sha256(stock.read(&path)));
    }
    let ca = |stock: &Stock, cluster: &str, id: &str| {
        let key = format!("{cluster}-ca");
        let plain = stock.plaintext(id, "ca.kubernetes", "ca.kubernetes", &key);
        let path = format!("clusters/{cluster}/sealed/ca.kubernetes.g1.asc");
        seal(stock, &path, &plain, ("ca.kubernetes", &stock.spki(&key)), both, 1)
    };
    record += &ca(&stock, "prod", PROD);
    let node = stock.plaintext(PROD, "node.cp-1", "apiserver", "cp-1");
    record += &seal(&stock, "clusters/prod/sealed/node.cp-1.asc", &node, ("apiserver", &stock.spki("cp-1")), both, 1);
    let sa = stock.plaintext(PROD, "sa", "sa", "prod-sa");
    record += &seal(&stock, "clusters/prod/sealed/sa.g1.asc", &sa, ("sa", &stock.spki("prod-sa")), both, 1);
    record += &ca(&stock, "stage", STAGE);
    record += &issued(&stock, "clusters/prod/certs/node/cp-1/apiserver.crt", "cp-1", "prod-ca", "CN=kube-apiserver");
    record += &phase("prod", "kubernetes", 1, "issuing");
    record += &phase("prod", "service-account", 1, "issuing");
    record += &phase("stage", "kubernetes", 1, "issuing");
    let first = stock.record("alice", &record);
    let heartbeat = record_head(&stock, "bob", 1, &[first], &stock.now("-1 minutes"));
    let head = stock.record("bob", &heartbeat);
    let pin = format!("kluis-pin:{REPO}:1:{}:{head}", sha256(stock.read("trust/epoch/0001.toml")));
    stock.pin = Some(pin);
    stock.commit();
    stock
}

impl Stock {
    /// The hash of the newest record of the valid repository.
    pub fn head(&self) -> String {
        self.pin.as_ref().unwrap().rsplit(':').next().unwrap().to_owned()
    }

    /// The valid repository's records: its path without ending, and its actor.
    pub fn records(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for month in fs::read_dir(self.path("trust/log")).unwrap() {
            for file in fs::read_dir(month.unwrap().path()).unwrap() {
                let path = file.unwrap().path();
                let name = path.strip_prefix(self.repo()).unwrap().display().to_string();
                if let Some(stem) = name.strip_suffix(".sig") {
                    let (stem, actor) = stem.rsplit_once('.').unwrap();
                    found.push((stem.to_owned(), actor.to_owned()));
                }
            }
        }
        found.sort();
        found
    }

    /// The path, without ending, of the record of this actor in the valid repository.
    pub fn record_of(&self, actor: &str) -> String {
        self.records().into_iter().find(|(_, by)| by == actor).unwrap().0
    }

    /// An epoch 2 that closes the valid repository's log.
    pub fn second_epoch(&self) -> EpochText {
        let mut epoch = first_epoch(self);
        // What the first says of times is in its file; a second one only has to come later.
        epoch.number = 2;
        epoch.previous = Some(sha256(self.read("trust/epoch/0001.toml")));
        epoch.created = self.now("now");
        epoch.closes = Some((vec![self.head()], 2));
        epoch
    }

    /// Writes an epoch, signed by these people.
    pub fn put_epoch(&self, epoch: &EpochText, names: &[&str]) {
        self.write(&format!("trust/epoch/{:04}.toml", epoch.number), epoch.text());
        self.sign_epoch(epoch.number, names);
    }

    /// The pin of the tree as it is.
    pub fn pin_here(&self, epoch: u32, heads: &[String]) -> String {
        let heads = if heads.is_empty() { String::new() } else { format!(":{}", heads.join(",")) };
        format!("kluis-pin:{REPO}:{epoch}:{}{heads}", sha256(self.read(&format!("trust/epoch/{epoch:04}.toml"))))
    }

    /// Describes a control-plane node `cp-1` in prod; returns the entry that vouches for it.
    pub fn describe_node(&self) -> String {
        let path = "clusters/prod/cluster.toml";
        let node = "\n[[node]]\nname = \"cp-1\"\nroles = [\"control-plane\", \"etcd\"]\naddresses = [\"10.0.0.11\"]\n";
        self.write(path, self.text(path) + node);
        format!("\n[[config]]\npath = \"{path}\"\nsha256 = \"{}\"\n", sha256(self.read(path)))
    }

    /// A record of `actor` on top of the valid repository, with these entries.
    pub fn add_record(&self, actor: &str, entries: &str) -> String {
        self.record(actor, &(record_head(self, actor, 1, &[self.head()], &self.now("now")) + entries))
    }
}

/// The packets of an OpenPGP stream.
pub fn packets(bytes: &[u8]) -> Vec<Vec<u8>> {
    let (mut found, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let tag = bytes[at];
        let (header, length) = if tag & 0x40 == 0 {
            match tag & 3 {
                0 => (2, usize::from(bytes[at + 1])),
                1 => (3, usize::from(bytes[at + 1]) << 8 | usize::from(bytes[at + 2])),
                _ => (5, bytes[at + 1..at + 5].iter().fold(0, |n, b| n << 8 | usize::from(*b))),
            }
        } else {
            match bytes[at + 1] {
                short @ 0..=191 => (2, usize::from(short)),
                first @ 192..=223 => (3, ((usize::from(first) - 192) << 8) + usize::from(bytes[at + 2]) + 192),
                _ => (6, bytes[at + 2..at + 6].iter().fold(0, |n, b| n << 8 | usize::from(*b))),
            }
        };
        found.push(bytes[at..at + header + length].to_vec());
        at += header + length;
    }
    found
}

/// Armor without a checksum, which is optional.
pub fn armor(label: &str, bytes: &[u8]) -> Vec<u8> {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(bytes);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN PGP {label}-----\n\n{}\n-----END PGP {label}-----\n", lines.join("\n")).into_bytes()
}
