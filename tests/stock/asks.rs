//! Requests by stock openssl and gpg, and the binary as one of the people of the story runs it.

use base64::Engine as _;

use super::*;

/// A request, as its author wants it.
#[derive(Clone)]
pub struct Asked {
    pub cluster: String,
    pub person: String,
    pub profile: &'static str,
    pub groups: Vec<String>,
    pub expires: String,
    pub reason: &'static str,
    pub csr: Vec<u8>,
}

impl Stock {
    /// A CSR in DER, of a new key `name` under `work`; `subject` and `options` as openssl wants them.
    pub fn make_csr(&self, name: &str, subject: &str, options: &str) -> Vec<u8> {
        if !self.work(&format!("{name}.key")).exists() {
            self.openssl(&format!("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out {name}.key"));
        }
        let config =
            "oid_section=oids\n[oids]\nkubernetesUid=1.3.6.1.4.1.57683.2\n[req]\ndistinguished_name=dn\n[dn]\n";
        fs::write(self.work("csr.cnf"), config).unwrap();
        let command = format!("req -new -config csr.cnf -key {name}.key -subj {subject} {options} -outform DER");
        self.openssl(&command.split_whitespace().collect::<Vec<_>>().join(" ")).stdout
    }

    /// What alice may ask for in prod, with a new key `name` under `work`.
    pub fn asked(&self, name: &str) -> Asked {
        Asked {
            cluster: PROD.to_owned(),
            person: "alice".to_owned(),
            profile: "client",
            groups: vec!["kluis:admins".to_owned()],
            expires: self.now("+7 days"),
            reason: "",
            csr: self.make_csr(name, "/CN=alice", ""),
        }
    }

    /// Writes a request to prod; returns its hash and its path without ending.
    pub fn put_request(&self, asked: &Asked) -> (String, String) {
        let csr = base64::engine::general_purpose::STANDARD.encode(&asked.csr);
        let text = format!(
            "format = \"kluis/request/1\"\nrepo = \"{REPO}\"\ncluster = \"{}\"\nperson = \"{}\"\nprofile = \"{}\"\n\
             groups = {}\nlifetime = \"30h\"\ncreated = {}\nexpires = {}\nnonce = \"{}\"\nreason = \"{}\"\ncsr = \"{csr}\"\n",
            asked.cluster,
            asked.person,
            asked.profile,
            list(&asked.groups),
            self.now("-5 days"),
            asked.expires,
            &sha256(&csr)[..32],
            asked.reason,
        );
        let hash = sha256(&text);
        let stem = format!("clusters/prod/requests/{}", &hash[..16]);
        self.write(&format!("{stem}.toml"), text);
        (hash, stem)
    }

    /// A request to prod that `signer` signed in their own name; returns its hash.
    pub fn ask(&self, asked: &Asked, signer: &str) -> String {
        let (hash, stem) = self.put_request(asked);
        self.sign(signer, "request", &format!("{stem}.toml"), &format!("{stem}.{signer}.sig"));
        hash
    }

    /// A certificate for the key of a CSR under `work`, and its entry, in answer to a request.
    pub fn grant(&self, name: &str, subject: &str, request: &str) -> String {
        let person = subject.rsplit("/CN=").next().unwrap();
        let path = format!("clusters/prod/certs/person/{person}/{name}.crt");
        fs::write(self.work("leaf.ext"), LEAF_OF_PERSON).unwrap();
        let csr = self.make_csr(name, subject, "");
        let serial = format!("0x5{}", &sha256(&csr)[..31]);
        fs::write(self.work(&format!("{name}.csr")), csr).unwrap();
        self.openssl(&format!(
            "x509 -req -inform DER -in {name}.csr -CA prod-ca.crt -CAkey prod-ca.key -set_serial {serial} -days 1 -extfile leaf.ext -out {name}.crt"
        ));
        self.write(&path, fs::read(self.work(&format!("{name}.crt"))).unwrap());
        let dn: Vec<&str> = subject.split('/').skip(1).collect();
        let dn = dn.into_iter().rev().collect::<Vec<_>>().join(",");
        issued(self, &path, name, "prod-ca", &dn) + &format!("request = \"{request}\"\n")
    }

    /// Runs the built binary as one of the people, whose keys are all in the agent; returns how it ended and what it said.
    #[track_caller]
    pub fn kluis(&self, who: &str, args: &[&str]) -> (i32, String) {
        let mut kluis = Command::new(env!("CARGO_BIN_EXE_kluis"));
        kluis.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", self.work("nobody"));
        kluis.env("XDG_STATE_HOME", self.work("state")).env("GNUPGHOME", self.home()).stdin(Stdio::null());
        kluis.env("GIT_AUTHOR_NAME", "x").env("GIT_AUTHOR_EMAIL", "x@example.org");
        kluis.env("GIT_COMMITTER_NAME", "x").env("GIT_COMMITTER_EMAIL", "x@example.org");
        if let Some(pin) = &self.pin {
            kluis.args(["--pin", pin]);
        }
        kluis.arg("-C").arg(self.repo()).args(["--as", who]).args(args);
        let output = kluis.output().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code().unwrap_or(-1), text)
    }
}

/// Extensions of a person's certificate.
pub const LEAF_OF_PERSON: &str = "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n\
    extendedKeyUsage=clientAuth\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n";
