//! Real kubectl with a kubeconfig that `kluis kubeconfig` wrote: it is who the certificate says, through a gpg-agent here and
//! through a forwarded one, with one private-key operation a call, and no byte of the key is written on the way.
//! Owns the agent, the forwarded socket, and the watch on every folder of the founder's.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rustix::fs::inotify;
use serde_json::Value;

use crate::control_plane::ControlPlane;
use crate::process::Run;
use crate::programs;

const CONTEXT: &str = "alice-break-glass@prod";

/// The founder at their desk: where their files are, and which GnuPG home their programs use.
struct Desk<'a> {
    plane: &'a ControlPlane,
    home: PathBuf,
}

impl Desk<'_> {
    fn new(plane: &ControlPlane) -> Desk<'_> {
        let home = plane.exports.folder().to_path_buf();
        for folder in ["tmp", "home", "far"] {
            fs::create_dir(home.join(folder)).expect("a writable scratch directory");
            fs::set_permissions(home.join(folder), fs::Permissions::from_mode(0o700)).expect("a folder of one's own");
        }
        Desk { plane, home }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.join(name)
    }

    /// What the desk's programs see of the machine; `kluis` is on the PATH.
    fn seen(&self, run: Run, gnupg: &str) -> Run {
        let kluis = Path::new(env!("CARGO_BIN_EXE_kluis")).parent().expect("a program lies in a folder");
        let rest = std::env::var_os("PATH").expect("PATH is set");
        let path = std::env::join_paths([kluis.to_path_buf()].into_iter().chain(std::env::split_paths(&rest)));
        run.env("PATH", path.expect("folders without colons"))
            .env("HOME", self.path("home"))
            .env("TMPDIR", self.path("tmp"))
            .env("XDG_STATE_HOME", self.path("state"))
            .env("GNUPGHOME", self.path(gnupg))
    }

    fn kluis(&self, args: &[&str]) -> String {
        self.seen(self.plane.exports.kluis_run(), "gnupg").args(args).succeeds()
    }

    /// kubectl as the founder, with the file that it finds by itself.
    fn kubectl(&self, gnupg: &str, context: &str) -> Run {
        let kubectl = Run::new(&programs::kubernetes("kubectl"), &self.home);
        self.seen(kubectl, gnupg).args(["--request-timeout=30s", "--context", context])
    }

    fn socket(&self, gnupg: &str, which: &str) -> PathBuf {
        let run = Run::new(&programs::system("gpgconf"), &self.home).env("GNUPGHOME", self.path(gnupg));
        PathBuf::from(run.args(["--list-dirs", which]).succeeds().trim_end())
    }

    fn whoami(&self, gnupg: &str, context: &str) -> Value {
        let answer = self.kubectl(gnupg, context).args(["auth", "whoami", "--output=json"]).succeeds();
        serde_json::from_str(&answer).expect("an object")
    }

    /// Puts a socket in the place of `far`'s agent that hands everything on to `which` of the founder's.
    fn forward(&self, which: &str) -> Forward {
        let (here, there) = (self.socket("far", "agent-socket"), self.socket("gnupg", which));
        let launch = Run::new(&programs::system("gpgconf"), &self.home).env("GNUPGHOME", self.path("gnupg"));
        launch.args(["--launch", "gpg-agent"]).succeeds();
        let _ = fs::remove_file(&here);
        let listener = UnixListener::bind(here).expect("a socket in a short path");
        let heard = Arc::new(Mutex::new(Vec::new()));
        let kept = heard.clone();
        std::thread::spawn(move || {
            for near in listener.incoming() {
                let near = near.expect("a connection");
                let far = UnixStream::connect(&there).expect("the agent answers");
                let back = (far.try_clone().expect("a socket"), near.try_clone().expect("a socket"));
                std::thread::spawn(move || hand_on(back.0, back.1, None));
                let heard = kept.clone();
                std::thread::spawn(move || hand_on(near, far, Some(heard)));
            }
        });
        Forward(heard)
    }
}

impl Drop for Desk<'_> {
    fn drop(&mut self) {
        let _ = Run::new(&programs::system("gpgconf"), &self.home)
            .env("GNUPGHOME", self.path("gnupg"))
            .args(["--kill", "all"])
            .ends();
    }
}

/// What was said to an agent through a forwarded socket.
struct Forward(Arc<Mutex<Vec<u8>>>);

impl Forward {
    /// How often this command was given.
    fn count(&self, command: &str) -> usize {
        let heard = self.0.lock().expect("no thread panicked");
        heard.split(|byte| *byte == b'\n').filter(|line| line.starts_with(command.as_bytes())).count()
    }
}

fn hand_on(mut from: UnixStream, mut to: UnixStream, heard: Option<Arc<Mutex<Vec<u8>>>>) {
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if let Some(heard) = &heard {
            heard.lock().expect("no thread panicked").extend(&buffer[..read]);
        }
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
}

/// Everything that is made, written or moved in any folder below some, also if it is gone a moment later.
struct Watch {
    descriptor: rustix::fd::OwnedFd,
    folders: Vec<(i32, PathBuf)>,
}

impl Watch {
    fn on(folders: &[PathBuf]) -> Watch {
        let descriptor = inotify::init(inotify::CreateFlags::NONBLOCK).expect("inotify");
        let mut watch = Watch { descriptor, folders: Vec::new() };
        folders.iter().for_each(|folder| watch.add(folder));
        watch
    }

    fn add(&mut self, folder: &Path) {
        use inotify::WatchFlags;
        let flags = WatchFlags::CREATE | WatchFlags::MODIFY | WatchFlags::CLOSE_WRITE | WatchFlags::MOVED_TO;
        let id = inotify::add_watch(&self.descriptor, folder, flags).expect("a watch");
        self.folders.push((id, folder.to_path_buf()));
        for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry")) {
            if entry.file_type().expect("a kind").is_dir() {
                self.add(&entry.path());
            }
        }
    }

    /// The paths of all that happened so far.
    fn events(&self) -> BTreeSet<PathBuf> {
        let mut buffer = [const { std::mem::MaybeUninit::uninit() }; 1 << 16];
        let mut reader = inotify::Reader::new(&self.descriptor, &mut buffer);
        let mut paths = BTreeSet::new();
        while let Ok(event) = reader.next() {
            let folder = self.folders.iter().find(|(id, _)| *id == event.wd()).map(|(_, folder)| folder.clone());
            let name = event.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            paths.insert(folder.expect("a watched folder").join(name));
        }
        paths
    }
}

/// Every file below a folder that has one of these pieces of a key.
fn files_with(folder: &Path, pieces: &[Vec<u8>], found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry")) {
        let kind = entry.file_type().expect("a kind");
        if kind.is_dir() {
            files_with(&entry.path(), pieces, found);
        } else if kind.is_file() {
            let bytes = fs::read(entry.path()).expect("a file");
            let has = |piece: &Vec<u8>| bytes.windows(piece.len()).any(|window| window == piece);
            if pieces.iter().any(has) {
                found.push(entry.path());
            }
        }
    }
}

/// Pieces of the secret half: lines of its PEM, and the secret number in the DER (RFC 5958 and 5915: for P-256, the 32
/// octets behind the first 36).
fn pieces(pem: &str) -> Vec<Vec<u8>> {
    use base64::Engine as _;
    let lines: Vec<&str> = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let der = base64::engine::general_purpose::STANDARD.decode(lines.concat()).expect("base64");
    vec![lines[1].as_bytes()[..48].to_vec(), der[40..64].to_vec()]
}

#[test]
fn kubectl_is_who_the_certificate_says_and_no_key_is_written_on_the_way() {
    let plane = ControlPlane::start(1);
    let desk = Desk::new(&plane);
    let config = desk.path("home/.kube/config");
    let said = desk.kluis(&["kubeconfig", "-c", "prod", "--break-glass", "--as", "alice"]);
    assert!(said.contains(&format!("Wrote context {CONTEXT} to {}", config.display())), "{said}");
    let written: Value = serde_yaml_ng::from_slice(&fs::read(&config).expect("a kubeconfig")).expect("YAML");
    assert_eq!(written["users"][0]["user"]["exec"]["command"], "kluis", "the PATH leads to this very program");

    // kubectl makes its caches at the first call; afterwards every folder that it uses is there to be watched.
    let user = desk.whoami("gnupg", CONTEXT)["status"]["userInfo"].clone();
    assert_eq!(user["username"], "alice");
    assert_eq!(user["groups"], serde_json::json!(["system:masters", "system:authenticated"]));
    desk.kubectl("gnupg", CONTEXT).args(["get", "namespaces"]).succeeds();

    let credential = desk.kluis(&["credential", "-c", "prod", "--break-glass", "--as", "alice"]);
    let credential: Value = serde_json::from_str(&credential).expect("an ExecCredential");
    let pieces = pieces(credential["status"]["clientKeyData"].as_str().expect("a key"));
    let watch = Watch::on(std::slice::from_ref(&desk.home));
    for which in ["agent-socket", "agent-extra-socket"] {
        let forward = desk.forward(which);
        desk.kubectl("far", CONTEXT).args(["get", "namespaces"]).succeeds();
        assert_eq!(forward.count("PKDECRYPT"), 1, "{which}: one operation a call");
        assert_eq!(desk.whoami("far", CONTEXT)["status"]["userInfo"]["username"], "alice");
        assert_eq!(forward.count("PKDECRYPT"), 2, "{which}");
        assert_eq!(forward.count("PKSIGN"), 0, "{which}");
    }
    desk.kubectl("gnupg", CONTEXT).args(["get", "namespaces"]).succeeds();
    let cache = desk.path("home/.kube/cache");
    let socket = desk.socket("far", "agent-socket");
    let events = watch.events();
    let written: Vec<&PathBuf> = events.iter().filter(|path| !path.starts_with(&cache) && **path != socket).collect();
    assert!(written.is_empty(), "{written:?}");
    let files = || {
        let mut found = Vec::new();
        files_with(&desk.home, &pieces, &mut found);
        found
    };
    assert!(files().is_empty(), "{:?}", files());
    // Both would have seen it.
    let probe = desk.path("tmp/probe");
    fs::write(&probe, &pieces[1]).expect("a writable scratch directory");
    assert_eq!(files(), std::slice::from_ref(&probe));
    fs::remove_file(&probe).expect("a file of one's own");
    assert!(watch.events().contains(&probe));

    refused_and_inline(&desk, &config);
}

/// What kubectl shows where there is no key, and the form with the key in the file, which needs no program.
fn refused_and_inline(desk: &Desk<'_>, config: &Path) {
    let inline = desk.path("inline.conf");
    let name = inline.to_str().expect("scratch paths are ASCII");
    desk.kluis(&["kubeconfig", "-c", "prod", "--break-glass", "--inline", "--context", "inline", "--out", name]);
    let kubectl = |run: Run| run.env("KUBECONFIG", &inline).env("PATH", OsString::from("/nonexistent"));
    let who = kubectl(desk.kubectl("far", "inline")).args(["auth", "whoami", "--output=json"]).succeeds();
    assert!(who.contains("alice"), "{who}");

    fs::rename(desk.path("state/kluis/keys"), desk.path("keys-elsewhere")).expect("keys of one's own");
    let refusal = desk.kubectl("gnupg", CONTEXT).args(["get", "namespaces"]).refused();
    assert!(
        refusal.contains("is not on this machine") && refusal.contains("kluis kubeconfig -c prod --break-glass"),
        "{refusal}"
    );
    fs::rename(desk.path("keys-elsewhere"), desk.path("state/kluis/keys")).expect("keys of one's own");
    desk.kubectl("gnupg", CONTEXT).args(["get", "namespaces"]).succeeds();

    // kubectl reads what was written to its file beside entries of its own.
    let set = ["config", "set-context", CONTEXT, "--namespace=kube-system"];
    desk.kubectl("gnupg", CONTEXT).args(set).succeeds();
    let before = fs::read(config).expect("a kubeconfig");
    desk.kluis(&["kubeconfig", "-c", "prod", "--break-glass", "--as", "alice"]);
    let minified = desk.kubectl("gnupg", CONTEXT).args(["config", "view", "--minify", "--output=json"]).succeeds();
    let minified: Value = serde_json::from_str(&minified).expect("an object");
    assert_eq!(minified["contexts"][0]["context"]["namespace"], "kube-system");
    assert_eq!(minified["users"][0]["user"]["exec"]["interactiveMode"], "IfAvailable");
    let (before, after): (Value, Value) = (
        serde_yaml_ng::from_slice(&before).expect("YAML"),
        serde_yaml_ng::from_slice(&fs::read(config).expect("a kubeconfig")).expect("YAML"),
    );
    assert_eq!(before["contexts"], after["contexts"]);
}
